"""The command line of `unimo-bids`: from words to settings, or to one sentence of refusal.

Nothing heavy is imported here: help and refusals shall come at once.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from unimo_bids.bids.filters import read_filters
from unimo_bids.brain.place import check_place
from unimo_bids.cli import arguments
from unimo_bids.cli.options import Derivatives, Parser, build_parser
from unimo_bids.errors import InputError, UnimoError
from unimo_bids.files.objects import read_object
from unimo_bids.files.staging import machine_error
from unimo_bids.settings import Settings, read_values
from unimo_bids.spaces.names import output_spaces
from unimo_bids.words import AnalysisLevel

_NO_SETTINGS = ("config_file", "output_layout")


def parse(argv: Sequence[str] | None = None) -> Settings:
    """Turn the command line into settings; exits with code 2 where that cannot be.

    Values from a ``--config-file`` are taken as if they stood on the command line, before
    everything else there.
    """
    words = [_dashed(word) for word in (sys.argv[1:] if argv is None else argv)]
    argv = _level_first(arguments.joined(words))
    first = Parser(add_help=False)
    first.add_argument("--config-file", type=arguments.path)
    config, _ = first.parse_known_args(argv)
    parser = build_parser()
    try:
        values = _from_file(parser, config.config_file) if "config_file" in config else {}
        parsed, unknown = parser.parse_known_args(argv)
        if unknown:
            parser.error(_unknown(unknown, parser))
        values |= {name: one for name, one in vars(parsed).items() if name not in _NO_SETTINGS}
        # argparse makes lists
        values = {
            name: tuple(one) if isinstance(one, list) else one for name, one in values.items()
        }
        settings = Settings(**values)
        _check(settings)
    except UnimoError as error:
        parser.exit(error.exit_code, f"error: {error}\n")
    except OSError as error:
        parser.exit(1, f"error: {machine_error(error.filename or 'arguments', error)}\n")
    return settings


def _dashed(word: str) -> str:
    """Let ``--task_id`` be ``--task-id``, as other programs write it."""
    option, equals, value = word.partition("=")
    return option.replace("_", "-") + equals + value if word.startswith("--") else word


def _level_first(argv: list[str]) -> list[str]:
    """Let the level be the last word, where an option that takes several values would swallow it.

    >>> _level_first(["raw", "out", "--participant-label", "01", "participant"])
    ['raw', 'out', 'participant', '--participant-label', '01']
    """
    before_options = [*(word.startswith("-") for word in argv), True].index(True)
    if before_options == 2 and argv[-1] in get_args(AnalysisLevel) and not argv[-2].startswith("-"):
        return [*argv[:2], argv[-1], *argv[2:-1]]
    return argv


def _unknown(words: Sequence[str], parser: Parser) -> str:
    """Say which argument is not known, and what may have been meant."""
    options = [name for action in parser._actions for name in action.option_strings]
    option = next((word for word in words if word.startswith("-")), None)
    if option is None:
        return f"{' '.join(words)!r} is one argument too many"
    near = difflib.get_close_matches(option.partition("=")[0], options, n=1, cutoff=0.75)
    return f"unknown option {option}" + (f" (did you mean {near[0]}?)" if near else "")


def _from_file(parser: Parser, path: Path) -> dict[str, Any]:
    """Read settings from a file, each checked as it would be on the command line."""
    actions = {action.dest: action for action in reversed(parser._actions)}
    values = read_values(path)
    for name, value in values.items():
        try:
            values[name] = _as_typed(actions[name], value)
        except (argparse.ArgumentTypeError, argparse.ArgumentError, ValueError) as error:
            finding = f"{name} = {value!r}: {getattr(error, 'message', error)}"
            raise InputError(path, finding, "correct it, see unimo-bids --help") from error
        if not actions[name].option_strings:  # positional, to be left out now
            actions[name].nargs, actions[name].required = "?", False
            actions[name].default = values[name]
    return values


def _as_typed(action: argparse.Action, value: Any) -> Any:
    """What an argument makes of a value in a file."""
    if isinstance(action, Derivatives):
        if not isinstance(value, dict):
            raise ValueError("a table of names and paths is wanted")
        return action.collected([f"{name}={folder}" for name, folder in value.items()])
    if action.dest == "mem_gb":
        return arguments.memory(f"{value}G")
    if action.dest == "verbosity":
        return arguments.natural(str(value))
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ValueError("true or false is wanted")
        return value
    if action.nargs == "+":
        if not isinstance(value, list):
            raise ValueError("a list is wanted")
        return [_one_typed(action, one) for one in value]
    return _one_typed(action, value)


def _one_typed(action: argparse.Action, value: Any) -> Any:
    if isinstance(value, bool | list | dict):
        raise ValueError("a text or a number is wanted")
    if action.choices and value not in action.choices:
        raise ValueError(f"one of {', '.join(action.choices)} is wanted")
    return action.type(str(value)) if callable(action.type) else value


def _check(settings: Settings) -> None:
    """Refuse what cannot work whatever the data are."""
    _check_input(settings)
    _check_places(settings)
    if settings.bids_filter_file:
        read_filters(settings.bids_filter_file)
    for folder in settings.derivatives.values():
        if not folder.is_dir():
            raise InputError(folder, "there is no such folder", "correct --derivatives")
    plugin = settings.use_plugin
    if plugin and not (plugin.is_file() and os.access(plugin, os.R_OK)):
        raise InputError(plugin, "there is no file that can be read", "correct --use-plugin")
    most, one = settings.nprocs, settings.omp_nthreads
    if most and one and one > most:
        finding = f"one step may use {one} processors, all steps together only {most}"
        raise InputError("--omp-nthreads", finding, "lower it or raise --nprocs")
    if settings.device == "cpu" and settings.gpus:
        raise InputError("--gpus", "the device is the CPU", "leave it out, or --device cpu")
    if ":" in settings.device and (settings.gpus or 1) > 1:
        raise InputError("--gpus", f"{settings.device} is one GPU", "give --device cuda")
    if settings.reference == "sbref" and "sbref" in settings.ignore:
        raise InputError("--ignore sbref", "--reference sbref asks for it", "leave one out")
    check_place(settings.brain_center, settings.brain_extraction)
    output_spaces(settings.output_spaces, settings.template)
    if settings.reports_only and settings.boilerplate_only:
        raise InputError("--reports-only", "--boilerplate-only excludes it", "leave one out")


def _check_input(settings: Settings) -> None:
    folder = settings.bids_dir
    if not folder.is_dir():
        raise InputError(folder, "there is no such folder", "give the folder of a BIDS dataset")
    description = folder / "dataset_description.json"
    if not description.is_file():
        finding = "this folder has no dataset_description.json, so it is no BIDS dataset"
        raise InputError(folder, finding, "give the top folder of a dataset, or add the file")
    read_object(description)


def _check_places(settings: Settings) -> None:
    """Keep the input, the output and the work folder out of one another's way."""
    # links are followed: two names of one place are one place
    data, out, work = (
        Path(os.path.realpath(one))
        for one in (settings.bids_dir, settings.out_dir, settings.work_dir)
    )
    # Path.home() fails for a user without one
    home = Path(os.path.realpath(os.path.expanduser("~")))  # noqa: PTH111
    proposal = settings.bids_dir / "derivatives" / "unimo-bids"
    if out == data:
        raise InputError(
            settings.out_dir, "the output is the dataset itself", f"give {proposal}, for example"
        )
    if out.is_relative_to(data) and not out.is_relative_to(data / "derivatives"):
        finding = "the output lies within the dataset, but not in its derivatives"
        raise InputError(settings.out_dir, finding, f"give {proposal}, for example")
    for place, real, remedy in (
        (settings.out_dir, out, "give a folder"),
        (settings.work_dir, work, "give another with --work-dir"),
    ):
        there = next(one for one in (real, *real.parents) if one.exists())
        if not there.is_dir():
            finding = "is a file, not a folder" if there == real else f"{there} is a file"
            raise InputError(place, finding, remedy)
    if work.is_relative_to(data):
        finding = "the work folder lies within the dataset"
        raise InputError(settings.work_dir, finding, "give another with --work-dir")
    if work == out:
        finding = "the work folder is the output folder"
        raise InputError(settings.work_dir, finding, "give another with --work-dir")
    if (settings.clean_workdir or settings.remove_workdir) and (
        any(one.is_relative_to(work) for one in (data, out, home))
    ):
        finding = "it is to be emptied, but it holds more than intermediate files"
        raise InputError(settings.work_dir, finding, "give a folder of its own with --work-dir")

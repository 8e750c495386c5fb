"""The options of `unimo-bids`, named as in fMRIPrep where it has them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn, get_args

from unimo_bids.cli import arguments, fmriprep
from unimo_bids.errors import UnimoError
from unimo_bids.spaces.names import SpaceError, parse_spaces
from unimo_bids.words import (
    AnalysisLevel,
    Deformation,
    Ignored,
    OutputLevel,
    Population,
    RunBrainMethod,
    Slices,
)

# As far as BIDS URIs allow
_DATASET_NAME = re.compile(r"[A-Za-z0-9_.-]+")


class Parser(argparse.ArgumentParser):
    """Refuses in one sentence, without the usage, whose fifty options would bury it."""

    def __init__(self, **options: Any) -> None:
        # what is not said is left to the defaults of Settings
        super().__init__(
            prog="unimo-bids", allow_abbrev=False, argument_default=argparse.SUPPRESS, **options
        )

    def error(self, message: str) -> NoReturn:
        """Print one sentence and exit with code 2."""
        if "arguments are required" in message:
            message = f"{message}; {arguments.PLACES_FIRST}"
        self.exit(2, f"error: {message.rstrip('.')}; see unimo-bids --help.\n")


def build_parser() -> Parser:
    """Declare all options."""
    parser = Parser(
        usage="unimo-bids BIDS_DIR OUT_DIR {participant,group} [options]",
        description="Correct head motion in the BOLD series of a BIDS dataset, above all of the "
        "fetal brain. Writes BIDS derivatives and a report per participant.",
        epilog="Exit codes: 0 all done; 1 a run failed, or the machine did not allow it; 2 the "
        "input or an argument cannot be used; 3 only a report failed. Nothing is sent anywhere.",
    )
    add = parser.add_argument
    add("bids_dir", metavar="BIDS_DIR", type=arguments.path, help="the raw dataset")
    add("out_dir", metavar="OUT_DIR", type=arguments.path, help="folder for the derivatives")
    add(
        "analysis_level",
        choices=get_args(AnalysisLevel),
        help="correct runs, or summarise the results of all participants",
    )
    add("--version", action="version", version=f"unimo-bids {version('unimo-bids')}")
    _add_selection(parser)
    _add_resources(parser)
    _add_method(parser)
    _add_parts(parser)
    _add_diagnostics(parser)
    fmriprep.add_options(parser)
    return parser


def _add_selection(parser: Parser) -> None:
    add = parser.add_argument_group("which runs").add_argument
    _labels(add, "--participant-label", prefix="sub-")
    _labels(add, "--session-label", prefix="ses-")
    _labels(add, "-t", "--task-id", prefix="task-")
    _labels(add, "--run-id", prefix="run-")
    add("--echo-idx", metavar="N", type=arguments.positive_int, help="use only this echo")
    add(
        "--bids-filter-file",
        metavar="FILE",
        type=arguments.path,
        help='JSON of PyBIDS filters for "bold" and "sbref"; null means without, "*" with any',
    )
    add(
        "-d",
        "--derivatives",
        metavar="[NAME=]PATH",
        nargs="+",
        action=Derivatives,
        help="results of other programs (brain masks) or of an earlier call (motion)",
    )
    add(
        "--bids-database-dir",
        metavar="PATH",
        type=arguments.path,
        help="folder of a PyBIDS index; created if missing, otherwise used as it is",
    )
    _flag(add, "--skip-bids-validation", help="do not validate the dataset")


def _add_resources(parser: Parser) -> None:
    group = parser.add_argument_group("resources")
    add = group.add_argument
    add(
        "--nprocs",
        "--nthreads",
        "--n-cpus",
        metavar="N",
        type=arguments.positive_int,
        help="number of processors (default: all)",
    )
    add(
        "--omp-nthreads",
        metavar="N",
        type=arguments.positive_int,
        help="threads per step (default: 1; results differ in the last digits)",
    )
    add(
        "--mem",
        "--mem-mb",
        dest="mem_gb",
        metavar="SIZE",
        type=arguments.memory,
        help="memory limit: 16G, or 16000 in MB (default: all)",
    )
    _flag(add, "--low-mem", help="run one step at a time, to use the least memory")
    arguments.add_device(group)
    add(
        "--gpus",
        metavar="N",
        type=arguments.positive_int,
        help="number of GPUs to use (default: 1)",
    )
    add(
        "--use-plugin",
        "--nipype-plugin-file",
        metavar="FILE",
        type=arguments.path,
        help="YAML file of a Nipype plugin and its arguments, e.g. for a cluster",
    )
    add(
        "-w",
        "--work-dir",
        metavar="PATH",
        type=arguments.path,
        help="folder for intermediate files; keep it to resume an interrupted run "
        "(default: ./work)",
    )
    _flag(add, "--clean-workdir", help="empty the work folder first")
    _flag(add, "--remove-workdir", help="remove the work folder after a run without errors")


def _add_method(parser: Parser) -> None:
    group = parser.add_argument_group("method")
    add = group.add_argument
    add(
        "--level",
        choices=get_args(OutputLevel),
        help="minimal: transforms, masks and confounds, no corrected series (default: full)",
    )
    add(
        "--dummy-scans",
        metavar="N",
        type=arguments.natural,
        help="frames before the steady state (default: detect them)",
    )
    add(
        "--reference",
        metavar="N|auto|sbref",
        type=arguments.frame_or("auto", "sbref"),
        help="frame that the others are aligned to, counted from 0 (default: auto, a still one), "
        "or the single-band reference",
    )
    add(
        "--ignore",
        nargs="+",
        choices=get_args(Ignored),
        help="what not to use: slicetiming (as --slices off, and nothing is interpolated in time), "
        "sbref with --reference sbref",
    )
    add(
        "--fd-threshold",
        "--fd-spike-threshold",
        metavar="MM",
        type=arguments.positive,
        help="framewise displacement above which a frame is an outlier (default: 0.5)",
    )
    add(
        "--dvars-threshold",
        "--dvars-spike-threshold",
        metavar="X",
        type=arguments.positive,
        help="standardised DVARS above which a frame is an outlier (default: 1.5)",
    )
    add(
        "--fd-radius",
        metavar="MM|auto",
        type=arguments.millimetres_or_auto,
        help="millimetres per radian in framewise displacement (default: auto, from the brain)",
    )
    add(
        "--brain-extraction",
        choices=get_args(RunBrainMethod),
        help="how the brain is found where --derivatives hold no mask: unimo, trained networks; "
        "epi, intensity and shape, for a head in air; auto, the better of both (default); "
        "derivatives, not at all: runs without a mask fail",
    )
    arguments.add_center(group)
    arguments.add_tracker(group)
    arguments.add_network(group)
    arguments.add_spaces(group)
    add(
        "--fetch-templates",
        metavar="SPACE",
        nargs="+",
        action=FetchTemplates,
        help="fetch what --output-spaces will need from TemplateFlow, and do nothing else",
    )
    _add_beyond_poses(group)
    add(
        "--population",
        choices=("auto", *get_args(Population)),
        help="who was scanned (default: auto, from ages in the dataset, else the brain's size)",
    )


def _add_beyond_poses(group: argparse._ArgumentGroup) -> None:
    """Add options beyond one rigid pose a frame: slices, brightness, distortion."""
    add = group.add_argument
    add(
        "--slices",
        choices=get_args(Slices),
        help="follow the head through the slices of every frame, and make frames from slices where "
        "they were: auto, if slice times are known, the head moves within frames and slices are "
        "better explained so (default); on, wherever slice times are known; off",
    )
    arguments.add_slice_time(group)
    arguments.add_intensity(group)
    add(
        "--deformation",
        choices=get_args(Deformation),
        help="distortion that bends the head as it moves, along the sidecar's "
        "PhaseEncodingDirection: auto, undo it where frames that had no part in the estimate fit "
        "better so (default); epi, in any case; none, leave it",
    )


def _add_parts(parser: Parser) -> None:
    add = parser.add_argument_group("only a part").add_argument
    _flag(add, "--dry-run", help="show what would run, and roughly how long it takes")
    _flag(add, "--reports-only", help="rebuild the reports from existing results")
    _flag(add, "--boilerplate-only", help="write only the methods text")
    _flag(add, "--md-only-boilerplate", help="write the methods text only as Markdown")


def _add_diagnostics(parser: Parser) -> None:
    add = parser.add_argument_group("settings and diagnostics").add_argument
    add(
        "--config-file",
        metavar="FILE",
        type=arguments.path,
        help="TOML file of settings, as written to the log folder; the command line overrides it, "
        "and --no-NAME switches off what it switches on",
    )
    add(
        "--aggregate-session-reports",
        metavar="N",
        type=arguments.positive_int,
        help="with more sessions than this, each gets a report page of its own (default: 4)",
    )
    _flag(add, "--stop-on-first-crash", help="stop everything when a step fails")
    _flag(add, "--write-graph", help="draw the workflow")
    _flag(add, "--resource-monitor", help="record memory and processor use of each step")
    add("-v", "--verbose", dest="verbosity", action="count", help="more messages; -vv even more")
    _flag(add, "--debug", help="show tracebacks")


def _labels(add: Any, *names: str, prefix: str) -> None:
    kind = prefix.rstrip("-")
    what = {"sub": "participants", "ses": "sessions", "task": "tasks", "run": "runs"}[kind]
    add(
        *names,
        metavar="LABEL",
        nargs="+",
        type=arguments.label(prefix),
        help=f"only these {what}, with or without {prefix}",
    )


def _flag(add: Any, *names: str, help: str) -> None:  # noqa: A002
    """Add a switch, and a silent ``--no-…`` that undoes it."""
    add(*names, action="store_true", help=help)
    undo = [f"--no-{name.removeprefix('--')}" for name in names]
    dest = names[0].removeprefix("--").replace("-", "_")
    add(*undo, dest=dest, action="store_false", help=argparse.SUPPRESS)


class FetchTemplates(argparse.Action):
    """Fetch templates and end, whatever else is on the command line."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """As argparse calls it."""
        from unimo_bids.spaces.templateflow import fetch_templates

        try:
            spaces = parse_spaces(values)
        except SpaceError as error:
            raise argparse.ArgumentError(self, str(error)) from error
        try:
            found = fetch_templates(spaces)
        except UnimoError as error:
            parser.exit(error.exit_code, f"error: {error}\n")
        for files in found:
            print(files.image, files.mask, sep="\n")
        parser.exit()


class Derivatives(argparse.Action):
    """Collect ``name=path`` and plain paths, the latter named for their folder."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """As argparse calls it."""
        setattr(namespace, self.dest, self.collected(values))

    def collected(self, words: Sequence[str]) -> dict[str, Path]:
        """Folders by name."""
        found: dict[str, Path] = {}
        for word in words:
            name, equals, folder = word.partition("=")
            if not equals or Path(word).exists():  # a folder's name may have a = in it
                name, folder = "", word
            if not folder:
                raise argparse.ArgumentError(self, f"{word!r} names no folder")
            place = arguments.path(folder)
            name = name or re.sub(r"[^A-Za-z0-9_.-]+", "-", place.name)
            if not _DATASET_NAME.fullmatch(name) or name == "raw":
                finding = f"{name!r} cannot name a dataset; use letters, digits, - and _"
                raise argparse.ArgumentError(self, finding)
            if name in found:
                finding = f"two datasets are named {name!r}; tell them apart by NAME=PATH"
                raise argparse.ArgumentError(self, finding)
            found[name] = place
        return found

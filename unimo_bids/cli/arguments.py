"""Kinds of command-line arguments that the commands share; each refuses in half a sentence."""

from __future__ import annotations

import os
import re
from argparse import ArgumentParser, ArgumentTypeError, _ActionsContainer
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import get_args

from unimo_bids.brain.place import OPTION, read_place
from unimo_bids.spaces.names import SpaceError, parse_spaces
from unimo_bids.words import Fusion, Population, TrackerName

# As in fMRIPrep, a number without a unit is in MB
_GB = {"K": 1e-6, "M": 1e-3, "G": 1.0, "T": 1e3}
# The program alone, with PyTorch in memory, needs about this much.
_LEAST_GB = 0.5
# an option that takes several values swallows what follows it
PLACES_FIRST = "place BIDS_DIR OUT_DIR and the level before the options"


def positive(text: str) -> float:
    """Read a number above 0."""
    number = _number(text)
    if number is None or not 0 < number < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def positive_int(text: str) -> int:
    """Read a whole number from 1 on."""
    if re.fullmatch(r"[0-9]+", text) and int(text) > 0:
        return int(text)
    raise ArgumentTypeError(f"{text!r} is not a whole number above 0")


def natural(text: str) -> int:
    """Read a whole number from 0 on."""
    if re.fullmatch(r"[0-9]+", text):
        return int(text)
    raise ArgumentTypeError(f"{text!r} is not a whole number from 0 on")


def device(text: str) -> str:
    """Read a device to compute on."""
    if re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", text):
        return text
    raise ArgumentTypeError(f"{text!r} is none of auto, cpu, cuda, cuda:0, cuda:1, …")


def frame_or(*words: str) -> Callable[[str], int | str]:
    """Kind of argument: a frame's number, or one of some words."""

    def read(text: str) -> int | str:
        if text in words:
            return text
        if re.fullmatch(r"[0-9]+", text):
            return int(text)
        choices = "".join(f", nor {word!r}" for word in words)
        raise ArgumentTypeError(f"{text!r} is no frame number from 0 on{choices}")

    return read


def moment(text: str) -> float:
    """Read a moment of a frame, from 0, the first slice's, to 1, the last's; or its name."""
    number = {"start": 0.0, "middle": 0.5}.get(text, _number(text))
    if number is not None and 0 <= number <= 1:
        return number
    raise ArgumentTypeError(f"{text!r} is none of start, middle, a number from 0 to 1")


def millimetres_or_auto(text: str) -> float | str:
    """Read a length in mm above 0, or ``auto``."""
    try:
        return text if text == "auto" else positive(text)
    except ArgumentTypeError:
        finding = f"{text!r} is neither a number of mm above 0 nor 'auto'"
        raise ArgumentTypeError(finding) from None


def place(text: str) -> str:
    """Read a place in an image, as ``12,-30,44`` or ``62,86,28vox``."""
    try:
        return read_place(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def memory(text: str) -> float:
    """Read an amount of memory, as ``16G`` or, in MB, ``16000``; GB."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:i?B)?", text, re.IGNORECASE)
    if match is None:
        raise ArgumentTypeError(f"{text!r} is no amount of memory; give it as 16G or 16000M")
    amount = float(match[1]) * _GB[match[2].upper() or "M"]
    if amount < _LEAST_GB:
        raise ArgumentTypeError(
            f"{text!r} is {1000 * amount:g} MB, too little to run; give gigabytes as 16G"
        )
    return amount


def label(prefix: str) -> Callable[[str], str]:
    """Kind of argument: a BIDS label, whose prefix (``sub-``) may be there or not."""

    def read(text: str) -> str:
        value = text.removeprefix(prefix)
        if re.fullmatch(r"[A-Za-z0-9+]+", value):
            return value
        if "/" in text:
            raise ArgumentTypeError(f"{text!r} is no label; {PLACES_FIRST}")
        raise ArgumentTypeError(f"{text!r} is no label; labels are of letters and digits only")

    return read


def path(text: str) -> Path:
    """Read a path; absolute, with ``~`` understood, links left as they are."""
    if not text:
        raise ArgumentTypeError("the path is empty")
    return Path(os.path.expanduser(text)).absolute()  # noqa: PTH111 - Path's fails without a home


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def output_space(text: str) -> str:
    """Read an output space in fMRIPrep's grammar, ``MNI152NLin2009cAsym:res-2``."""
    try:
        parse_spaces([text])
    except SpaceError as error:
        raise ArgumentTypeError(str(error)) from error
    return text


def template(text: str) -> str:
    """Read a template given as ``FILE`` or ``FILE:MASK``; paths are made absolute."""
    return ":".join(str(path(part)) for part in text.rsplit(":", 1))


def add_spaces(parser: _ActionsContainer) -> None:
    """Add the options for output spaces and templates."""
    parser.add_argument(
        "--output-spaces",
        metavar="SPACE",
        nargs="+",
        type=output_space,
        help="standard spaces to write to as well, by TemplateFlow's names as "
        "MNI152NLin2009cAsym:res-2 or MNIInfant:cohort-1 (res-native, the default: voxels as large "
        "as the run's); anat-axes turns the head upright; func changes nothing",
    )
    parser.add_argument(
        "--template",
        metavar="FILE[:MASK]",
        nargs="+",
        type=template,
        help="your own templates, written to as well; {age} in a name stands for weeks, and the "
        "nearest is taken: atlas/template-{age}.nii.gz:atlas/mask-{age}.nii.gz",
    )


def add_population(parser: ArgumentParser) -> None:
    """Add the option for the population."""
    parser.add_argument(
        "--population",
        choices=get_args(Population),
        help="who was scanned; a brain of another size is flagged (default: anyone)",
    )


def add_center(parser: _ActionsContainer) -> None:
    """Add the option for the place of the brain."""
    parser.add_argument(
        OPTION,
        metavar="X,Y,Z",
        type=place,
        help="a point in the brain, in the reference: mm (RAS), or voxels from 0 as 62,86,28vox; "
        "the brain is searched for only there (default: anywhere)",
    )


def joined(words: Sequence[str]) -> list[str]:
    """Join a place to its option, as argparse takes ``-12,3,4`` for another option.

    >>> joined(["in.nii", "--brain-center", "-12,3,4"])
    ['in.nii', '--brain-center=-12,3,4']
    """
    found: list[str] = []
    for word in words:
        if found and found[-1] == OPTION and re.match(r"-[0-9.]", word):
            found[-1] += f"={word}"
        else:
            found.append(word)
    return found


def add_device(parser: _ActionsContainer) -> None:
    """Add the option for the device."""
    parser.add_argument(
        "--device",
        metavar="auto|cpu|cuda[:i]",
        type=device,
        help="device to compute on (default: auto, a GPU if there is one)",
    )


def add_machine(parser: ArgumentParser, threads: str = "all") -> None:
    """Add the options that every command has: device, threads, overwriting, debugging, version."""
    add_device(parser)
    parser.set_defaults(device="auto")
    parser.add_argument(
        "--threads", metavar="N", type=positive_int, help=f"CPU threads (default: {threads})"
    )
    parser.add_argument("--overwrite", action="store_true", help="overwrite existing files")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.add_argument("--version", action="version", version=version("unimo-bids"))


def add_tracker(parser: _ActionsContainer) -> None:
    """Add the option for the tracker."""
    parser.add_argument(
        "--tracker",
        choices=get_args(TrackerName),
        help="who follows the head before refinement, and bridges what is lost: search, from the "
        "cheapest start that explains a frame, and even motion; spaer, a network that attends to "
        "all frames of the series; auto, search, and spaer with --no-refine (default)",
    )


def add_slice_time(parser: _ActionsContainer) -> None:
    """Add the option for interpolation in time."""
    parser.add_argument(
        "--slice-time-ref",
        metavar="0…1|start|middle",
        type=moment,
        help="interpolate the corrected series in time to this moment of every frame, from the "
        "first slice's time (0) to the last's (1) (default: not at all)",
    )


def add_intensity(parser: _ActionsContainer) -> None:
    """Add the option that turns intensity correction off."""
    parser.add_argument(
        "--no-intensity-correction",
        dest="intensity_correction",
        action="store_false",
        help="leave spin history and the coils' gain in frames made from slices",
    )


def add_network(parser: _ActionsContainer) -> None:
    """Add the options of the pose network and of refinement."""
    parser.add_argument(
        "--fusion",
        choices=get_args(Fusion),
        help="how the pose network brings together image and shape: in one problem, each counting "
        "by what it knows (default); by interpolating between their poses; or one of them alone",
    )
    parser.add_argument(
        "--no-refine",
        dest="refine",
        action="store_false",
        help="take the tracker's poses as they are, without search and refinement",
    )

"""`unimo-mask`: the brain in one image, without BIDS."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from unimo_bids.cli.arguments import (
    add_center,
    add_machine,
    add_population,
    frame_or,
    joined,
    positive,
)
from unimo_bids.cli.guard import guarded, importing
from unimo_bids.cli.printing import say
from unimo_bids.words import BrainMethod


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit codes as `unimo-correct`."""
    arguments = build_parser().parse_args(joined(sys.argv[1:] if argv is None else argv))
    return guarded(lambda: _run(arguments), debug=arguments.debug)


def build_parser() -> argparse.ArgumentParser:
    """Declare all options."""
    parser = argparse.ArgumentParser(
        prog="unimo-mask",
        description="Find and mask the brain of a fetus, infant or adult in an EPI volume, or in "
        "every frame of a series. Writes 1 for brain, 0 else; frames in which the brain was not "
        "found stay empty, and are named.",
        epilog="Exit codes: 0 done (doubts are printed), 1 the machine did not allow it, 2 the "
        "input cannot be used, or holds no brain: then nothing is written.",
    )
    parser.add_argument("input", metavar="IN.nii[.gz]", type=Path, help="a 3D or 4D image")
    parser.add_argument("output", metavar="OUT.nii[.gz]", type=Path, help="the mask")
    add_center(parser)
    add_population(parser)
    parser.add_argument(
        "--brain-extraction",
        choices=get_args(BrainMethod),
        default="unimo",
        help="unimo, trained networks (default); epi, intensity and shape, for a head in air; "
        "auto, the better of both",
    )
    parser.add_argument(
        "--reference",
        metavar="N|auto",
        type=frame_or("auto"),
        default="auto",
        help="frame in which the brain is looked for first (default: auto, a still one)",
    )
    parser.add_argument(
        "--margin",
        metavar="MM",
        type=positive,
        default=0.0,
        help="so much around the brain as well (default: none; masks end within the skull). Skull "
        "and scalp of a fetus are about 4.5 mm; masks drawn by hand on T2w scans often hold them",
    )
    add_machine(parser)
    return parser


def _run(arguments: argparse.Namespace) -> None:
    # torch takes two seconds: not before the arguments are known to be good
    with importing():
        from unimo_bids.pipeline.mask import mask_file

    options = {name: value for name, value in vars(arguments).items() if name != "debug"}
    masked = mask_file(options.pop("input"), options.pop("output"), **options)
    for warning in masked.warnings:
        print(f"warning: {arguments.input}: {warning}", file=sys.stderr)
    say(masked, arguments.output)

"""`unimo-correct`: head-motion correction of one file, without BIDS."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from unimo_bids.cli.arguments import (
    add_center,
    add_intensity,
    add_machine,
    add_network,
    add_population,
    add_slice_time,
    add_spaces,
    add_tracker,
    frame_or,
    joined,
    positive,
)
from unimo_bids.cli.guard import guarded, importing
from unimo_bids.cli.printing import say
from unimo_bids.cli.progress import progress
from unimo_bids.words import Deformation, FileBrainMethod, Interpolation, Slices

if TYPE_CHECKING:
    from unimo_bids.pipeline.correct import Corrected, Options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns 0 done (also with frames flagged as lost), 1 the machine did not allow it, 2 bad input.
    """
    arguments = build_parser().parse_args(joined(sys.argv[1:] if argv is None else argv))
    return guarded(lambda: _run(arguments), debug=arguments.debug)


def build_parser() -> argparse.ArgumentParser:
    """Declare all options."""
    parser = argparse.ArgumentParser(
        prog="unimo-correct",
        description="Correct head motion in one 4D fMRI series. One cubic resampling from the raw "
        "data; transforms, uncertainty, a flag per frame and a picture beside it.",
        epilog="Exit codes: 0 done (frames that could not be registered are flagged, not fatal), "
        "1 the machine did not allow it, 2 the input cannot be used.",
    )
    parser.add_argument("input", metavar="IN.nii[.gz]", type=Path, help="the 4D series")
    parser.add_argument("out_dir", metavar="OUT_DIR", type=Path, help="folder for the outputs")
    parser.add_argument(
        "--mask",
        metavar="FILE",
        type=Path,
        help="brain mask on the series' grid: 3D of the reference frame, or 4D, one per frame",
    )
    parser.add_argument(
        "--brain-extraction",
        choices=get_args(FileBrainMethod),
        default="auto",
        help="how the brain is found without a mask: unimo, trained networks; epi, intensity and "
        "shape, for a head in air; auto, the better of both (default); none, motion is that of all "
        "tissue in view",
    )
    add_center(parser)
    add_population(parser)
    add_tracker(parser)
    add_network(parser)
    parser.set_defaults(fusion="information", tracker="auto")
    parser.add_argument(
        "--reference",
        metavar="N|auto",
        type=frame_or("auto"),
        default="auto",
        help="frame whose pose is the identity, counted from 0 (default: auto, a still one)",
    )
    _add_beyond(parser)
    parser.add_argument("--interpolation", choices=get_args(Interpolation), default="cubic")
    parser.add_argument(
        "--prefix", metavar="NAME", help="how output names begin (default: the input's name)"
    )
    parser.add_argument("--no-figure", dest="figure", action="store_false", help="draw no PNG")
    parser.add_argument(
        "--fd-radius",
        metavar="MM",
        type=positive,
        default=50.0,
        help="millimetres per radian in framewise displacement (default: 50; newborn 35)",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="no progress, only warnings and results"
    )
    add_machine(parser, threads="1, from 200 frames on all")
    return parser


def _add_beyond(parser: argparse.ArgumentParser) -> None:
    """Add options beyond one rigid pose a frame: slices, time, brightness, spaces, distortion."""
    parser.add_argument(
        "--slice-timing",
        metavar="JSON",
        type=Path,
        help="BIDS sidecar with SliceTiming: follow the head through the slices of every frame as "
        "well, and make frames from slices where they were (default: one pose a frame)",
    )
    parser.add_argument(
        "--slices",
        choices=get_args(Slices),
        default="auto",
        help="with --slice-timing, make frames from slices: auto, where the head moves within "
        "frames (default); on, in any case; off, do not follow slices at all",
    )
    add_slice_time(parser)
    add_intensity(parser)
    add_spaces(parser)
    parser.set_defaults(output_spaces=(), template=())
    parser.add_argument(
        "--age", metavar="WEEKS", type=positive, help="of who was scanned, for {age} in --template"
    )
    parser.add_argument(
        "--deformation",
        choices=get_args(Deformation),
        default="none",
        help="distortion that bends the head as it moves: auto, correct it where frames that had "
        "no part in it fit better, and better than along other axes; epi, in any case; none, "
        "motion alone (default)",
    )
    parser.add_argument(
        "--phase-encoding",
        choices=("i", "j", "k"),
        help="axis along which EPI is distorted (default: what the JSON file beside the series, or "
        "its header, says)",
    )


def _run(arguments: argparse.Namespace) -> None:
    # torch takes two seconds: not before the arguments are known to be good
    with importing():
        from unimo_bids.pipeline.correct import Options

    options = vars(arguments).copy()
    quiet, figure, _ = (options.pop(name) for name in ("quiet", "figure", "debug"))
    print_result(run(Options(**options), quiet=quiet, figure=figure))


def run(options: Options, *, quiet: bool = False, figure: bool = True) -> Corrected:
    """Correct a file, showing progress and then the warnings."""
    from unimo_bids.pipeline.correct import correct_file

    with progress(quiet) as report:
        done = correct_file(options, report, _draw if figure else None)
    for warning in done.summary["warnings"]:
        print(f"warning: {options.input}: {warning}", file=sys.stderr)
    return done


def print_result(done: Corrected) -> None:
    """Print the results, the paths last."""
    from unimo_bids.pipeline.summary import in_words

    say(*in_words(done.summary), *done.paths.values())


def _draw(path: Path, done: Corrected) -> None:
    # only who wants a figure pays for the import
    from unimo_bids.reports.correction import draw_correction

    draw_correction(path, done)


if __name__ == "__main__":
    sys.exit(main())

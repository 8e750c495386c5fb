"""`unimo-register`: the transform between two volumes of anything."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from unimo_bids import exits
from unimo_bids.cli.arguments import add_machine, add_network, add_population
from unimo_bids.cli.guard import guarded, importing
from unimo_bids.cli.printing import say


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns 4 where the pose is doubted; else as `unimo-correct`.
    """
    arguments = build_parser().parse_args(argv)
    return guarded(lambda: _run(arguments), debug=arguments.debug)


def build_parser() -> argparse.ArgumentParser:
    """Declare all options."""
    parser = argparse.ArgumentParser(
        prog="unimo-register",
        description="Find how one 3D volume is turned and shifted against another: head or organ, "
        "of any contrast, each on a grid of its own. Where no mask is given, the brain is looked "
        "for. Writes OUT_PREFIX_xfm.txt (ITK, fixed to moving), OUT_PREFIX_pose.npy (4x4, RAS mm, "
        "fixed to moving), OUT_PREFIX_moved.nii.gz (the moving volume on the grid of the fixed "
        "one) and OUT_PREFIX_pose.json (what was registered, similarity, doubts).",
        epilog="Exit codes: 0 done, 1 the machine did not allow it, 2 the input cannot be used, or "
        "holds no brain: then nothing is written, 4 done, but the pose is doubted: the outputs are "
        "written, and the reasons printed.",
    )
    parser.add_argument("fixed", metavar="FIXED", type=Path, help="a 3D volume")
    parser.add_argument("moving", metavar="MOVING", type=Path, help="another one")
    parser.add_argument("prefix", metavar="OUT_PREFIX", type=Path)
    parser.add_argument(
        "--fixed-mask",
        metavar="FILE",
        type=Path,
        help="what moves, in the fixed volume (default: the brain, which is looked for)",
    )
    parser.add_argument(
        "--moving-mask", metavar="FILE", type=Path, help="the same in the moving volume"
    )
    parser.add_argument(
        "--whole-image",
        action="store_true",
        help="look for no brain: without a mask, all that is not air is registered",
    )
    parser.add_argument(
        "--bend",
        action="store_true",
        help="bend the fixed brain, or what is masked, gently onto the moving one, where that "
        "holds in places that it was not fitted to; also writes OUT_PREFIX_warp.nii.gz (all of the "
        "way, fixed to moving, a displacement field for ITK and ANTs)",
    )
    add_population(parser)
    parser.add_argument(
        "--no-network", dest="network", action="store_false", help="search and refinement alone"
    )
    add_network(parser)
    parser.set_defaults(fusion="information")
    add_machine(parser)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    # torch takes two seconds: not before the arguments are known to be good
    with importing():
        from unimo_bids.pipeline.register import register_files

    options = {name: value for name, value in vars(arguments).items() if name != "debug"}
    done = register_files(**options)
    for warning in done.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    say(done, done.paths["moved"])
    return exits.DOUBTED if done.pair.doubts else exits.DONE

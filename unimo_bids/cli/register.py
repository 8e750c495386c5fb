"""`unimo-register`: the rigid transform between two volumes of anything."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from unimo_bids.cli.arguments import add_machine, add_network
from unimo_bids.cli.correct import guarded
from unimo_bids.cli.printing import say


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit codes as `unimo-correct`."""
    arguments = _parser().parse_args(argv)
    return guarded(lambda: _run(arguments), debug=arguments.debug)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unimo-register",
        description="Find how one 3D volume is turned and shifted against another: head or organ, "
        "of any contrast, each on a grid of its own. Writes OUT_PREFIX_xfm.txt (ITK, fixed to "
        "moving), OUT_PREFIX_pose.npy (4x4, RAS mm, fixed to moving), OUT_PREFIX_moved.nii.gz (the "
        "moving volume on the grid of the fixed one) and OUT_PREFIX_pose.json (confidence and "
        "similarity).",
        epilog="Exit codes: 0 done, 1 the machine did not allow it, 2 the input cannot be used.",
    )
    parser.add_argument("fixed", metavar="FIXED", type=Path, help="a 3D volume")
    parser.add_argument("moving", metavar="MOVING", type=Path, help="another one")
    parser.add_argument("prefix", metavar="OUT_PREFIX", type=Path)
    parser.add_argument(
        "--fixed-mask", metavar="FILE", type=Path, help="what moves (default: all that is not air)"
    )
    parser.add_argument("--moving-mask", metavar="FILE", type=Path)
    parser.add_argument(
        "--no-network",
        dest="network",
        action="store_false",
        help="search and refinement alone",
    )
    add_network(parser)
    parser.set_defaults(fusion="information")
    add_machine(parser)
    return parser


def _run(arguments: argparse.Namespace) -> None:
    # torch takes two seconds: not before the arguments are known to be good
    from unimo_bids.cli.registering import register_files

    say(register_files(arguments))

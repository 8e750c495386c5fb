"""`unimo-train`: make the shipped weights again, or others."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from unimo_bids.cli.arguments import device, positive, positive_int
from unimo_bids.cli.correct import guarded


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit codes as `unimo-correct`."""
    parser = argparse.ArgumentParser(
        prog="unimo-train",
        description="Train the networks on synthetic volumes. First pack the anatomies, then train "
        "on the pack; a training that was interrupted goes on when it is called again.",
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_pack(commands.add_parser("pack", help="gather anatomies into one compact file"))
    _add_brain(commands.add_parser("brain", help="train brain extraction"))
    arguments = parser.parse_args(argv)
    left = "checkpoint and log stay; call again to go on"
    return guarded(lambda: arguments.action(arguments), debug=arguments.debug, left=left)


def _add_pack(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(action=_pack)
    parser.add_argument("out", metavar="OUT.npz", type=Path)
    parser.add_argument(
        "folders",
        metavar="FOLDER",
        type=Path,
        nargs="*",
        help="label maps, in any subfolder: adult heads with SynthSeg's codes, fetal brains with "
        "codes 1 to 8; without any, all is procedural",
    )
    parser.add_argument("--procedural", type=positive_int, default=36, help="fetal heads")
    parser.add_argument("--surroundings", type=positive_int, default=60, help="uteri")


def _add_brain(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(action=_brain)
    parser.add_argument("data", metavar="DATA.npz", type=Path, help="made by unimo-train pack")
    parser.add_argument("out", metavar="OUT_DIR", type=Path, help="checkpoint, log, weights, card")
    parser.add_argument("--steps", type=positive_int, default=12000)
    parser.add_argument("--batch", type=positive_int, default=4, help="volumes per step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", type=device, default="auto")
    parser.add_argument("--threads", type=positive_int, help="CPU threads (default: all)")
    parser.add_argument("--minutes", type=positive, help="stop after so long; call again to go on")
    parser.add_argument(
        "--validate", metavar="N", type=positive_int, default=200, help="volumes to judge it on"
    )


def _pack(arguments: argparse.Namespace) -> None:
    from unimo_bids.training.anatomies import gather, save

    objects = []
    for thing in gather(arguments.folders, arguments.procedural, arguments.surroundings):
        objects.append(thing)
        print(f"{thing.kind}: {thing.name}", file=sys.stderr)
    save(objects, arguments.out)
    print(arguments.out)


def _brain(arguments: argparse.Namespace) -> None:
    import torch

    from unimo_bids.devices import torch_device
    from unimo_bids.training import brain
    from unimo_bids.training.loop import Schedule

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(
        brain.recipe(
            arguments.data,
            arguments.out,
            Schedule(steps=arguments.steps, seed=arguments.seed),
            batch=arguments.batch,
            device=torch_device(arguments.device),
            minutes=arguments.minutes,
            validation=arguments.validate,
        )
    )

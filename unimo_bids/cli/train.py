"""`unimo-train`: make the shipped weights again, or others."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from unimo_bids.cli.arguments import device, natural, positive, positive_int
from unimo_bids.cli.guard import guarded
from unimo_bids.words import AttentionPart, BrainPart, NetworkPart

if TYPE_CHECKING:
    from unimo_bids.training.recipe import Recipe


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit codes as `unimo-correct`."""
    arguments = build_parser().parse_args(argv)
    left = "checkpoint and log stay; repeat the command to resume"
    return guarded(lambda: arguments.action(arguments), debug=arguments.debug, left=left)


def build_parser() -> argparse.ArgumentParser:
    """Declare all options."""
    parser = argparse.ArgumentParser(
        prog="unimo-train",
        description="Train the networks on synthetic volumes. First pack the anatomies, then train "
        "on the pack; if interrupted, repeat the command: it resumes.",
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_pack(commands.add_parser("pack", help="gather anatomies into one compact file"))
    _add_brain(commands.add_parser("brain", help="train brain extraction"))
    _add_pose(commands.add_parser("pose", help="train the pose network"))
    deform = commands.add_parser("deform", help="train the deformation network")
    deform.set_defaults(action=_deform)
    _add_training(deform, steps=2000, learning_rate=1e-2, batch="pairs", validate=100)
    _add_watch(commands.add_parser("watch", help="render series and let the pose network see them"))
    _add_track(commands.add_parser("track", help="train tracking through time"))
    return parser


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
    parser.add_argument(
        "--stacks",
        metavar="FOLDER",
        type=Path,
        nargs="+",
        default=[],
        help="real scans of uteri, with a brain mask for each (NAME_mask.nii.gz), or landmarks.tsv",
    )
    parser.add_argument("--procedural", type=positive_int, default=36, help="fetal heads")
    parser.add_argument("--surroundings", type=positive_int, default=60, help="uteri")


def _add_brain(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(action=_brain)
    _add_training(parser, steps=12000, learning_rate=1e-2, batch="volumes", validate=200)
    parser.add_argument(
        "--hold-back",
        metavar="FETUS",
        nargs="+",
        default=[],
        help="fetuses whose stacks are kept for validation: a name, or the age as in '31 weeks'",
    )
    parser.add_argument(
        "--only",
        choices=get_args(BrainPart),
        help="train this network, and leave the other as it began (then fit the classifier)",
    )


def _add_pose(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(action=_pose)
    _add_training(parser, steps=8000, learning_rate=2e-2, batch="pairs", validate=100)
    _add_without(parser, get_args(NetworkPart))


def _add_watch(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(action=_watch)
    parser.add_argument("data", metavar="DATA.npz", type=Path, help="made by unimo-train pack")
    parser.add_argument(
        "trajectories", metavar="TRAJECTORIES.npz", type=Path, help="recorded motion of heads"
    )
    parser.add_argument("out", metavar="OUT.npz", type=Path)
    parser.add_argument("--series", metavar="N", type=positive_int, default=72)


def _add_track(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(action=_track)
    _add_training(parser, steps=1500, learning_rate=3e-3, batch="series", validate=200)
    parser.add_argument("--layers", metavar="N", type=positive_int, default=3, help="of attention")
    _add_without(parser, get_args(AttentionPart))


def _add_without(parser: argparse.ArgumentParser, parts: Sequence[str]) -> None:
    about = "parts that the network is to do without, to see what they are worth"
    parser.add_argument("--without", nargs="+", choices=parts, default=[], help=about)


def _add_training(
    parser: argparse.ArgumentParser, *, steps: int, learning_rate: float, batch: str, validate: int
) -> None:
    maker = "watch" if batch == "series" else "pack"
    parser.add_argument("data", metavar="DATA.npz", type=Path, help=f"made by unimo-train {maker}")
    parser.add_argument("out", metavar="OUT_DIR", type=Path, help="checkpoint, log, weights, card")
    parser.add_argument(
        "--begin",
        metavar="WEIGHTS",
        type=Path,
        nargs="+",
        default=[],
        help="go on from these weights, or from the mean of several",
    )
    parser.add_argument(
        "--steps",
        type=natural,
        default=steps,
        help="0: only what is fitted at last, to the weights it begins with",
    )
    parser.add_argument("--learning-rate", metavar="RATE", type=positive, default=learning_rate)
    parser.add_argument("--batch", type=positive_int, default=4, help=f"{batch} per step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", type=device, default="auto")
    parser.add_argument("--threads", type=positive_int, help="CPU threads (default: all)")
    parser.add_argument(
        "--most", metavar="N", type=positive_int, help="anatomies of each kind (default: all)"
    )
    parser.add_argument(
        "--minutes", type=positive, help="stop after so long; repeat the command to resume"
    )
    parser.add_argument(
        "--validate",
        metavar="N",
        type=positive_int,
        default=validate,
        help=f"{batch} to judge it on",
    )


def _pack(arguments: argparse.Namespace) -> None:
    from unimo_bids.training.anatomies import Packed, gather
    from unimo_bids.training.packing import pack
    from unimo_bids.training.stacks import Stack, gather_stacks

    heads = gather(arguments.folders, arguments.procedural, arguments.surroundings)
    pack(_listed(chain[Packed | Stack](gather_stacks(arguments.stacks), heads)), arguments.out)
    print(arguments.out)


def _brain(arguments: argparse.Namespace) -> None:
    from unimo_bids.training.brain import RECIPE, losses

    _train(replace(RECIPE, losses=partial(losses, only=arguments.only)), arguments)


def _pose(arguments: argparse.Namespace) -> None:
    from unimo_bids.networks.pose import PoseNetwork
    from unimo_bids.training.pose import RECIPE

    network = partial(PoseNetwork, without=arguments.without)
    _train(replace(RECIPE, network=network), arguments)


def _deform(arguments: argparse.Namespace) -> None:
    from unimo_bids.training.deform import RECIPE

    _train(RECIPE, arguments)


def _watch(arguments: argparse.Namespace) -> None:
    from unimo_bids.training.anatomies import load
    from unimo_bids.training.packing import pack
    from unimo_bids.training.sequences import gather
    from unimo_bids.training.trajectories import recorded

    recordings = recorded(arguments.trajectories)
    pack(_listed(gather(load(arguments.data), recordings, arguments.series)), arguments.out)
    print(arguments.out)


def _listed(made: Iterable[Any]) -> list[Any]:
    """All of them, each told as soon as it is there."""
    kept = []
    for one in made:
        kept.append(one)
        print(f"{one.kind}: {one.name}", file=sys.stderr)
    return kept


def _track(arguments: argparse.Namespace) -> None:
    from unimo_bids.networks.temporal import TemporalNetwork
    from unimo_bids.training.judged import RECIPE

    network = partial(TemporalNetwork, arguments.layers, without=arguments.without)
    _train(replace(RECIPE, network=network), arguments)


def _train(recipe: Recipe, arguments: argparse.Namespace) -> None:
    import torch

    from unimo_bids.devices import torch_device
    from unimo_bids.training.loop import Schedule
    from unimo_bids.training.recipe import follow

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    # a thousand steps of the sequence model are too few for the usual average
    averaging = 0.99 if arguments.command == "track" else Schedule.averaging
    print(
        follow(
            recipe,
            arguments.data,
            arguments.out,
            Schedule(arguments.steps, arguments.learning_rate, averaging, arguments.seed),
            begin=arguments.begin,
            batch=arguments.batch,
            device=torch_device(arguments.device),
            minutes=arguments.minutes,
            validation=arguments.validate,
            most=arguments.most,
            hold_back=getattr(arguments, "hold_back", ()),
        )
    )

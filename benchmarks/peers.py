"""Pose networks of other kinds, small, trained on the pairs that this project's own is trained on.

DeepPose (Salehi et al. 2018) regresses the pose of a volume; KeyMorph (Wang et al. 2023) takes
centres of mass of what a plain network marks as key points, and fits a pose to them. Both are made
anew here, small, read what the pose network reads and are trained by its loss; none of them turns
its answer as its volume is turned, unless it learns to.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from unimo_bids.markdown import markdown_table
from unimo_bids.networks.alignment import Representation, align
from unimo_bids.networks.pose import Seen, Volumes, box_places
from unimo_bids.spatial import rigid
from unimo_bids.training import track
from unimo_bids.training.anatomies import load
from unimo_bids.training.loop import Schedule, train
from unimo_bids.training.pairs import Pairs
from unimo_bids.training.pose import displacement, draw
from unimo_bids.training.sequences import PATTERN, Watched, rendered
from unimo_bids.training.trajectories import recorded

_WIDTHS = (16, 32, 48, 48)  # channels at 1/2, 1/4, 1/8 and 1/8 of the box's resolution
_POINTS = 32  # as many as the pose network's
_BATCH, _RATE = 4, 2e-3  # pairs a step, as in its recipe; of Adam, usual for plain networks


def _trunk(widths: Sequence[int]) -> nn.Sequential:
    """Plain convolutions; each but the last halves the resolution."""
    layers: list[nn.Module] = []
    for number, (into, out) in enumerate(zip((3, *widths), widths, strict=False)):
        stride = 1 if number == 3 else 2
        layers += [nn.Conv3d(into, out, 3, stride, 1), nn.InstanceNorm3d(out), nn.ReLU()]
    return nn.Sequential(*layers)


class Regression(nn.Module):
    """As DeepPose: a volume's turn and place, each as numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = _trunk(_WIDTHS)
        self.dense = nn.Sequential(nn.Linear(_WIDTHS[-1] * 27, 64), nn.ReLU(), nn.Linear(64, 9))

    def forward(self, volumes: Seen) -> Volumes:
        """Six points on the axes that it sees, about the middle that it sees."""
        seen = nn.functional.adaptive_avg_pool3d(self.trunk(volumes.image), 3).flatten(1)
        six, place = self.dense(seen).float().split([6, 3], dim=1)
        first, second = six.unflatten(1, (2, 3)).unbind(1)
        one = nn.functional.normalize(first, dim=-1)
        other = second - (one * second).sum(-1, keepdim=True) * one
        two = nn.functional.normalize(other, dim=-1)
        axes = torch.stack([one, two, torch.linalg.cross(one, two)], dim=1)
        return _of_points(place[:, None] + torch.cat([axes, -axes], dim=1))


class KeyPoints(nn.Module):
    """As KeyMorph: centres of mass of what it marks."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = _trunk(_WIDTHS[:2])
        self.marks = nn.Sequential(
            *(nn.Conv3d(_WIDTHS[1], _WIDTHS[2], 5, 1, 2), nn.InstanceNorm3d(_WIDTHS[2]), nn.ReLU()),
            nn.Conv3d(_WIDTHS[2], _POINTS, 1),
            nn.ReLU(),
        )

    def forward(self, volumes: Seen) -> Volumes:
        """Key points."""
        marks = self.marks(self.trunk(volumes.image)).float() + 1e-6
        places = box_places(marks.shape[2:], marks.device).flatten(0, 2)
        share = marks.flatten(2) / marks.sum((2, 3, 4))[..., None]
        return _of_points(share @ places)


def _of_points(points: Tensor) -> Volumes:
    """What is known by points alone; of its shape, nothing is."""
    count = len(points), points.shape[1] + 1
    weights = torch.cat([torch.ones_like(points[..., 0]), 1e-6 * torch.ones(len(points), 1)], dim=1)
    image = Representation(points, torch.ones_like(points[:, :1]), weights)
    return Volumes(image, replace(image, weights=torch.zeros(count)))


PEERS: Mapping[str, Callable[[], nn.Module]] = {
    "pose regression, as DeepPose": Regression,
    "key points, as KeyMorph": KeyPoints,
}


def _losses(peers: nn.ModuleList, batch: tuple[Seen, Tensor, Tensor]) -> dict[str, Tensor]:
    """How far poses are off, as in the recipe of the pose network."""
    volumes, poses, _ = batch
    many, out = len(poses), {}
    for name, peer in zip(PEERS, peers, strict=True):
        found = peer(volumes).image
        pose = align(found[:many], found[many:]).poses
        out[name.split()[0]] = displacement(pose, poses.to(pose), torch.ones(many))
    return out


class Turned:
    """Pairs rendered once, then turned with their boxes in any of the 24 ways a cube fits.

    `rendered`: as of `training.pose.draw`: fixed ones before moving ones.
    """

    def __init__(self, rendered: tuple[Seen, Tensor, Tensor]) -> None:
        self.rendered, self.turns = rendered, _cube_turns()

    def draw(self, batch: int, rng: np.random.Generator) -> tuple[Seen, Tensor, Tensor]:
        """Some of the pairs, each volume turned otherwise."""
        volumes, poses, masked = self.rendered
        chosen = torch.from_numpy(rng.integers(len(poses), size=batch))
        turns = self.turns[torch.from_numpy(rng.integers(24, size=(2, batch)))]
        sides = torch.cat([chosen, chosen + len(poses)])
        every = turns.flatten(0, 1)
        seen = Seen(
            *(
                torch.stack(
                    [_turned(one, turn) for one, turn in zip(part[sides], every, strict=True)]
                )
                for part in (volumes.image, volumes.mask)
            ),
            None,
        )
        back = rigid.from_rotation(turns[0].mT, torch.zeros(batch, 3))
        onto = rigid.from_rotation(turns[1], torch.zeros(batch, 3))
        return seen, onto.double() @ poses[chosen].double() @ back.double(), masked[chosen]


def _cube_turns() -> Tensor:
    """The 24 rotations that carry a cube onto itself, ``(24, 3, 3)``."""
    found = [
        torch.diag(torch.tensor(signs, dtype=torch.float32)) @ torch.eye(3)[list(order)]
        for order in itertools.permutations(range(3))
        for signs in itertools.product((-1.0, 1.0), repeat=3)
    ]
    return torch.stack([one for one in found if torch.linalg.det(one) > 0])


def _turned(volume: Tensor, turn: Tensor) -> Tensor:
    """A volume ``(C, X, Y, Z)`` turned with its box."""
    order = turn.abs().argmax(dim=1)  # what is along each axis afterwards
    signs = turn[torch.arange(3), order]
    out = volume.permute(0, *(1 + order).tolist())
    return out.flip([1 + axis for axis in range(3) if signs[axis] < 0])


def judge(data: Path, trajectories: Path, folder: Path, steps: int, many: int, series: int) -> int:
    """Train the peers on so many pairs, and print how far they are off, frame by frame."""
    objects, recordings = load(data), recorded(trajectories)
    pairs = Pairs([thing for thing in objects if not thing.held_back])
    pool = Turned(draw(pairs, many, np.random.default_rng(0)))
    torch.manual_seed(0)
    peers = nn.ModuleList(make() for make in PEERS.values())
    schedule = Schedule(steps, _RATE)
    trained = train(peers, partial(pool.draw, _BATCH), partial(_losses, peers), schedule, folder)
    assert isinstance(trained, nn.ModuleList)
    kept = [n for n in range(series) if PATTERN[n % len(PATTERN)][1]]
    rows = [["series", "by", "off, mm", "turn, degrees", "shift, mm"]]
    for name, peer in zip(PEERS, trained.eval(), strict=True):
        errors: dict[str, list[Tensor]] = {}
        for number in kept:
            seen = rendered(objects, recordings, number, peer)
            errors.setdefault(seen.kind, []).append(_errors(seen))
        for kind, some in errors.items():
            told = torch.cat(some).mean(0).tolist()
            rows.append([f"{kind}, {len(some)} series", name, *(f"{x:.2f}" for x in told)])
    print(markdown_table(rows))
    return 0


def _errors(one: Watched) -> Tensor:
    """Of all frames but the reference ``(T - 1, 3)``: off, mm, turn, degrees, and shift, mm."""
    parts = (torch.from_numpy(a).double() for a in (one.points, one.vectors, one.weights))
    looks, reference = Representation(*parts), one.reference
    center = looks.points[reference].mean(0)
    looks = replace(looks, points=(looks.points - center) / one.radius)
    found = align(looks[[reference] * len(one.times)], looks).poses
    truth = torch.from_numpy(one.poses)
    truth = truth @ rigid.inverse(truth[reference])
    turn = rigid.rotation_vector(found[:, :3, :3].mT @ truth[:, :3, :3])
    place = center + one.radius * found[:, :3, 3]
    shift = place - rigid.transform(truth, center[None])[:, 0]
    errors = torch.stack([one.radius * turn, shift], dim=1)
    turned = torch.rad2deg(turn.norm(dim=-1))
    told = torch.stack([track.displacement(errors), turned, shift.norm(dim=-1)], dim=1)
    return told[torch.arange(len(told)) != reference]


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("data", type=Path, help="made by unimo-train pack")
    parser.add_argument("trajectories", type=Path, help="as of unimo-train watch")
    parser.add_argument("out", type=Path, help="checkpoint and log")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=160, help="to train on")
    parser.add_argument("--series", type=int, default=72, help="as of unimo-train watch")
    options = parser.parse_args()
    torch.set_num_threads(1)
    return judge(*vars(options).values())


if __name__ == "__main__":
    sys.exit(main())

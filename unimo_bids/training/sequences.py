"""Series of scans of one moving head, as the pose network knows them: made once, kept in one file.

A head is rendered along a trajectory, frame by frame: each group of slices where the head is when
it is acquired, in a field and a sensitivity that stay with the scanner, with artefacts that come
and go. The frozen pose network looks at every frame; what is kept is its representations, at their
places in the world, and the truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unimo_bids.networks.measuring import stacked
from unimo_bids.networks.pose import VOXELS, WIDTH, seen
from unimo_bids.networks.weights import quick_arithmetic
from unimo_bids.registration.pose_finder import pose_network
from unimo_bids.spatial import rigid
from unimo_bids.spatial.boxes import Box
from unimo_bids.training.anatomies import Kind, Packed, heads_of
from unimo_bids.training.packing import unpacked
from unimo_bids.training.pairs import roughened
from unimo_bids.training.scanner import (
    Grid,
    Random,
    distorted,
    scanned,
    sensitivity,
    shapes,
    some_rotation,
    some_voxels,
)
from unimo_bids.training.scenes import contrast, sampled
from unimo_bids.training.stacks import Stack
from unimo_bids.training.trajectories import Recording, adult_like, fetal_like, window

_RADII = {"fetal": (26.0, 55.0), "adult": (55.0, 75.0)}  # mm
_LEAST_VOXEL = {"fetal": 2.0, "adult": 3.0}
_DISTORTION_MM, _SENSITIVITY = 4.0, 0.7  # at most, about: as of pairs
_CLEAN, _CROWDED, _MASKLESS = 0.15, 0.7, 0.1
_SEVERE = 0.75  # of the series: in them, most frames have artefacts that the others do not have
_OWN_TROUBLE = {False: (0.0, 0.2), True: (0.3, 1.0)}  # of the frames
_DROPPED = 0.04  # frames that show next to nothing
_BATCH = 8  # frames that the network looks at at once
_GROUPS = 2  # of slices, one after the other, as in an interleaved scan


_SEED = 78
# kind, whether it is held back, frames
PATTERN: tuple[tuple[Kind, bool, int], ...] = (
    *(("fetal", False, 36), ("fetal", False, 36), ("fetal", True, 48), ("fetal", False, 36)),
    *(("fetal", False, 36), ("adult", False, 24), ("fetal", False, 36), ("fetal", False, 36)),
    *(("fetal", True, 48), ("fetal", False, 36), ("fetal", False, 36), ("adult", True, 24)),
)
_MADE_UP = 0.15  # of the fetal series to train on
_WAYS, _WAY_FRAMES = 36, 160  # made up, of poses alone


@dataclass(frozen=True)
class Watched:
    """A series of T frames as the pose network knows it.

    Attributes
    ----------
    points, vectors, weights
        ``(T, K, 3)`` mm, ``(T, M, 3)`` and ``(T, K + M)`` float32: image's before shape's, in each;
        without masks, shape's weights are 0.
    poses
        ``(T, 4, 4)`` float64 mm, a space of the head → the world.
    times
        ``(T,)`` s.
    shown
        ``(T,)`` bool, frames that show the head.
    radius
        Of the head, mm, as far as the network knew it.
    kind
        "fetal" or "adult"; an adult moves less.
    name, held_back
        What was shown, and whether it is for validation.
    """

    points: NDArray[np.float32]
    vectors: NDArray[np.float32]
    weights: NDArray[np.float32]
    poses: NDArray[np.float64]
    times: NDArray[np.float64]
    shown: NDArray[np.bool_]
    radius: float
    kind: str
    name: str
    held_back: bool

    @property
    def reference(self) -> int:
        """The middle one of the frames that show the head."""
        return int(np.flatnonzero(self.shown)[self.shown.sum() // 2])


def gather(
    objects: Sequence[Packed | Stack], recordings: Sequence[Recording], many: int
) -> Iterator[Watched]:
    """`many` series that are rendered and measured, and poses alone, recorded and made up."""
    for number in range(many):
        yield rendered(objects, recordings, number)
    rng = np.random.default_rng([_SEED])
    for one in recordings:
        times = one.step_s * np.arange(len(one.turn), dtype=np.float64)
        yield unwatched(one, times, float(rng.uniform(*_RADII["fetal"])), "fetal")
    for number in range(_WAYS):
        kind: Kind = "fetal" if number % 3 == 2 else "adult"
        step = float(rng.uniform(1, 3.5))
        if kind == "adult":
            one = adult_like(rng, _WAY_FRAMES, step, number % 4 == 3)
        else:
            one = fetal_like(rng, _WAY_FRAMES, step)
        times = step * np.arange(_WAY_FRAMES, dtype=np.float64)
        yield unwatched(one, times, float(rng.uniform(*_RADII[kind])), kind)


def rendered(
    objects: Sequence[Packed | Stack],
    recordings: Sequence[Recording],
    number: int,
    network: nn.Module | None = None,
) -> Watched:
    """Render the series of a number, measured by the shipped pose network or another."""
    rng = np.random.default_rng([_SEED, number])
    kind, held_back, frames = PATTERN[number % len(PATTERN)]
    heads = [thing for thing in heads_of(objects)[kind] if thing.held_back is held_back]
    step = float(rng.uniform(0.8, 3) if kind == "adult" else rng.uniform(1.5, 4))
    times = step * np.arange(frames, dtype=np.float64)
    if kind == "adult":
        recording = adult_like(rng, frames, step, held_back)
    elif not held_back and rng.random() < _MADE_UP:
        recording = fetal_like(rng, frames, step)
    else:
        kept = [one for one in recordings if one.held_back is held_back]
        recording, times = window(rng, kept, frames)
    return watch(rng, heads[int(rng.integers(len(heads)))], recording, times, network=network)


def watch(
    rng: Random,
    thing: Packed,
    recording: Recording,
    times: NDArray[np.float64],
    *,
    clean: bool | None = None,
    masked: bool | None = None,
    device: str = "cpu",
    network: nn.Module | None = None,
) -> Watched:
    """Render a head along a recording and look at every frame.

    Parameters
    ----------
    times
        ``(T,)`` in the recording, evenly spaced; a frame's slices are acquired around its time.
    clean
        Without artefacts other than motion and a little noise; drawn if not given, as is
    masked
        whether there is a mask for every frame.
    """
    radius = float(rng.uniform(*_RADII[thing.kind]))
    clean = bool(rng.random() < _CLEAN) if clean is None else clean
    masked = bool(rng.random() > _MASKLESS) if masked is None else masked
    step = float(np.abs(np.diff(times)).mean())
    parts = times[:, None] + step * ((np.arange(_GROUPS) + 0.5) / _GROUPS - 0.5)
    turn, shift = recording.at(np.concatenate([times[:, None], parts], axis=1))
    shift = shift - (shift.max(axis=(0, 1)) + shift.min(axis=(0, 1))) / 2
    first = some_rotation(rng, 180 if thing.kind == "fetal" else 30).double()
    places = torch.from_numpy(shift)
    poses = rigid.from_rotation(rigid.rotation_matrix(torch.from_numpy(turn)) @ first, places)
    grid = _grid(rng, thing, radius, np.abs(shift).max(axis=(0, 1)))
    scanner = _Scanner(rng, grid, thing, radius, clean, device)
    size = np.array(grid.shape) * grid.sizes - grid.sizes
    middle = size / 2 + places[:, 0].mean(dim=0).numpy()
    network = network or pose_network(device)
    guessed = radius * float(np.exp(0.05 * rng.standard_normal()))
    shown = rng.random(len(times)) > (0 if clean else _DROPPED)
    found = []
    for first_of in range(0, len(times), _BATCH):
        boxes, read = [], []
        for t in range(first_of, min(first_of + _BATCH, len(times))):
            image, mask = scanner.frame(t, poses[t, 1:], bool(shown[t]))
            center = _middle(mask, grid) if masked and bool((mask > 0.5).any()) else middle
            box = Box(WIDTH * guessed / VOXELS, (VOXELS,) * 3, tuple(center.tolist()))
            read.append([box.read(one, grid.sizes) for one in (image, mask)])
            boxes.append(center - size / 2)
        images, masks = (torch.stack(one)[:, None] for one in zip(*read, strict=True))
        found.append(_look(network, images, masks if masked else None, np.array(boxes), guessed))
    points, vectors, weights = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Watched(
        points=points,
        vectors=vectors,
        weights=weights,
        poses=poses[:, 0].numpy(),
        times=np.abs(times - times[0]),
        shown=shown,
        radius=guessed,
        kind=thing.kind,
        name=f"{thing.name}, {recording.name}",
        held_back=thing.held_back and recording.held_back,
    )


def unwatched(
    recording: Recording, times: NDArray[np.float64], radius: float, kind: Kind
) -> Watched:
    """Poses of a head along a recording, without images or measurements."""
    turn, shift = recording.at(times)
    poses = rigid.from_parameters(torch.from_numpy(turn), torch.from_numpy(shift)).numpy()
    many = len(times)
    nothing = np.zeros((many, 0, 3), dtype=np.float32)
    return Watched(
        points=nothing,
        vectors=nothing,
        weights=np.zeros((many, 0), dtype=np.float32),
        poses=poses,
        times=times - times[0],
        shown=np.ones(many, dtype=bool),
        radius=radius,
        kind=kind,
        name=recording.name,
        held_back=recording.held_back,
    )


def _look(
    network: nn.Module,
    images: Tensor,
    masks: Tensor | None,
    centers: NDArray[np.float64],
    radius: float,
) -> tuple[NDArray[np.float32], ...]:
    """Representations of volumes in boxes around centres, in the world; image's before shape's."""
    with torch.inference_mode(), quick_arithmetic(images.device):
        found = network(seen(images, None if masks is None else masks.clamp(0, 1)))
    both = stacked(found)
    points = torch.as_tensor(centers)[:, None] + radius * both.points.double().cpu()
    return tuple(one.float().cpu().numpy() for one in (points, both.vectors, both.weights))


def _middle(mask: Tensor, grid: Grid) -> NDArray[np.float64]:
    """Middle of a mask, mm from the first voxel."""
    where = (mask > 0.5).nonzero().double().mean(dim=0).cpu().numpy()
    return np.asarray(where * grid.sizes)


def _grid(rng: Random, thing: Packed, radius: float, shift: NDArray[np.float64]) -> Grid:
    """Voxels of any shape, enough for the head wherever it goes, at times barely."""
    sizes, slices = some_voxels(rng, _LEAST_VOXEL[thing.kind])
    return Grid.of(np.ceil((rng.uniform(2.4, 2.9) * radius + 2 * shift) / sizes), sizes, slices)


class _Scanner:
    """Renders frames; holds what stays the same from frame to frame."""

    def __init__(
        self, rng: Random, grid: Grid, thing: Packed, radius: float, clean: bool, device: str
    ) -> None:
        self.grid, self.thing, self.clean = grid, thing, clean
        self.device = torch.device(device)
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        self.labels = torch.from_numpy(thing.labels).to(self.device)
        self.look = torch.from_numpy(contrast(rng, thing)).to(self.device)
        stretch = torch.eye(3) + 0.06 * torch.as_tensor(rng.standard_normal((3, 3))).float()
        self.shrink = stretch * thing.radius / radius
        self.points = grid.points(self.device)
        self.gain: Tensor | float = 1.0
        if not clean:
            self.points, squeeze = distorted(self.points, _DISTORTION_MM, rng, generator)
            self.gain = squeeze * sensitivity(grid, rng, generator, _SENSITIVITY)
        self.around = shapes(grid, rng, generator, float(rng.uniform(12, 60)))
        self.around = self.around * float(rng.random() < _CROWDED)
        self.habit, self.same_mask = int(rng.integers(2**31)), bool(rng.random() < 0.5)
        self.trouble = float(rng.uniform(*_OWN_TROUBLE[bool(rng.random() < _SEVERE)]))
        self.seed = int(rng.integers(2**31))

    def frame(self, t: int, poses: Tensor, shown: bool) -> tuple[Tensor, Tensor]:
        """Image and mask ``(X, Y, Z)`` of a frame, its groups of slices at poses ``(G, 4, 4)``."""
        own = np.random.default_rng([self.seed, t])
        generator = torch.Generator(self.device).manual_seed(int(own.integers(2**62)))
        places = torch.empty_like(self.points)
        for group, pose in enumerate(poses.to(self.points)):
            which = self.grid.group(group, len(poses))
            away = self.points[which] - pose[:3, 3]
            places[which] = away @ pose[:3, :3] @ self.shrink.to(away)
        width = min(self.grid.sizes) * float(self.shrink.det().abs()) ** (1 / 3)
        image, present, brain = sampled(self.thing, self.labels, self.look, places, width)
        image = (image + (1 - present) * self.around) * self.gain
        usual = np.random.default_rng(self.habit)  # the same artefacts, other noise
        if not self.clean:
            kinds = own if own.random() < self.trouble else usual
            image = scanned(image * float(shown), self.grid, kinds, generator)
            drawn = np.random.default_rng(self.habit + 1) if self.same_mask else own
            brain = roughened(brain, self.grid, drawn)
        else:
            image = image + 0.02 * image.mean() * torch.randn(image.shape, generator=generator)
        return image, brain


def load(path: Path) -> list[Watched]:
    """Read the file that `pack` has made of series."""
    return unpacked(path, Watched, "watched series", "unimo-train watch")

"""One EPI volume of a random scene, and where the brain is in it: rendered on any torch device.

Objects keep their labels; everything else is drawn anew for every volume: tissue intensities, pose,
size, shape, surroundings, field of view, voxels, and what goes wrong in the scanner. Cruder and a
hundred times faster than `simulation`, which renders the series whose truth has to be exact.

All lengths are mm, all points are along the volume's axes, from the middle of its field of view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, max_pool3d

from unimo_bids.simulation.fetal import FLUID
from unimo_bids.training.anatomies import IN_BRAIN, Packed
from unimo_bids.training.scanner import (
    BRAIN_MEAN,
    Grid,
    Random,
    distorted,
    interpolated,
    noise,
    scanned,
    sensitivity,
    shapes,
    slices_apart,
    some_rotation,
    warp,
)
from unimo_bids.training.stacks import Placed, Stack, channels

Scenery = Literal["fetal", "infant", "adult", "none"]
SCENERIES: tuple[Scenery, ...] = ("fetal", "infant", "adult", "none")
SHARES = (0.56, 0.11, 0.20, 0.13)
_TWINS = 0.08  # of the fetal scenes
# with real stacks at hand: of the scenes in utero show one, of these have a synthetic head
_REAL, _LAID_IN, _FILLED = 0.65, 0.4, 0.85
_DECOYS = 4  # at most
_SHAPES = 0.2  # of the scenes in utero are of shapes without any meaning
# of the fetal brains have up to so many voxels more fluid around them, within the same skull
_WIDE, _WIDER = 0.3, 2
_FINE = 0.12  # of the scans in utero have small voxels in thick slices, as T2w ones have
# slices so much thicker than other voxels show the mean of two places, so far apart (of a slice)
_THICK, _WITHIN_SLICE = 1.3, 0.5

# intensities of a typical EPI are kept, about, in some volumes; the others forget them
_TYPICAL = 0.7
_AIR_BELOW = 50.0
# as in T2w scans, where water is up to so many times brighter than in EPI
_WATER_ABOVE, _T2W, _BRIGHTER = 1250.0, 0.25, 2.5


@dataclass(frozen=True)
class Example:
    """A volume and the truth about it.

    Parameters
    ----------
    image
        ``(X, Y, Z)`` intensities.
    brain
        ``(X, Y, Z)`` 0 … 1, how much of each voxel is brain.
    sizes
        ``(3,)`` of the voxels, mm.
    scenery
        Whose brain; "none" if there is no brain.
    fetus
        Whose stack it was rendered from; empty if from none.
    among_shapes
        Whether it lies among shapes without any meaning, which may look like anything.
    """

    image: Tensor
    brain: Tensor
    sizes: tuple[float, float, float]
    scenery: Scenery
    fetus: str = ""
    among_shapes: bool = False


class Scenes:
    """Draws examples from a set of objects."""

    def __init__(
        self, objects: Sequence[Packed | Stack], device: torch.device | str = "cpu"
    ) -> None:
        self.device = torch.device(device)
        self.objects: dict[str, list[Packed]] = {"adult": [], "fetal": [], "surroundings": []}
        self.stacks: dict[str, list[Stack]] = {}  # by fetus
        self._labels: dict[int, Tensor] = {}
        for thing in objects:
            if isinstance(thing, Stack):
                self.stacks.setdefault(thing.fetus, []).append(thing)
                self._labels[id(thing)] = channels(thing, self.device)
            else:
                self.objects[thing.kind].append(thing)
                self._labels[id(thing)] = torch.from_numpy(thing.labels).to(self.device)

    def draw(self, rng: Random, scenery: Scenery | None = None) -> Example:
        """Render one volume; the same generator state gives the same volume."""
        if scenery is None:
            scenery = SCENERIES[rng.choice(len(SCENERIES), p=SHARES)]
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        if self.stacks and scenery in ("fetal", "none") and rng.random() < _REAL:
            return self._real(rng, scenery, generator)
        head = self._head(rng, scenery)
        scale = _scale(rng, scenery, head)
        radius = head.radius * scale
        grid = _draw_grid(rng, scenery, radius)
        place = _place(rng, grid, radius)
        groups = _slice_groups(rng)
        points = grid.points(self.device)
        points, squeeze = distorted(points, 6, rng, generator)
        pose = _rotation(rng, scenery), place
        apart = 1.0 if scenery == "fetal" else 0.3
        head_points = slices_apart(points, pose, groups, apart, rng, grid) / scale
        head_points = head_points + warp(grid, rng.uniform(0, 4), 35, generator)
        values = self._sampled(head, head_points, rng, grid, pose[0] / scale)
        image, present, brain = values
        among_shapes = False
        if scenery in ("fetal", "none") and rng.random() < 0.9:
            among_shapes = rng.random() < _SHAPES
            if among_shapes:
                behind = shapes(grid, rng, generator, rng.uniform(12, 60))
            else:
                behind = self._surroundings(rng, points, pose, radius, grid, generator)
            if scenery == "fetal" and rng.random() < _TWINS:
                image, present, brain = self._with_twin(values, rng, points, place, radius, grid)
            if scenery == "none":
                image, brain = behind, torch.zeros_like(brain)
            else:
                image = image + (1 - present) * behind
        elif scenery == "none":
            image, brain = self._phantom(rng, points), torch.zeros_like(brain)
        elif rng.random() < 0.05:  # somebody took off the skull already
            image = image * brain
        image = image * squeeze * sensitivity(grid, rng, generator)
        image = scanned(image, grid, rng, generator)
        return Example(image, brain, grid.sizes, scenery, among_shapes=among_shapes)

    def _real(self, rng: Random, scenery: Scenery, generator: torch.Generator) -> Example:
        """Render a real stack: with its head, with a synthetic one in its place, or without."""
        fetus = list(self.stacks)[rng.integers(len(self.stacks))]
        stack = self.stacks[fetus][rng.integers(len(self.stacks[fetus]))]
        placed = Placed(stack, rng)
        grid = _draw_grid(rng, scenery, placed.radius)
        place = _place(rng, grid, placed.radius)
        if rng.random() < _FILLED:
            place = placed.within(place, grid.extent)
        points = grid.points(self.device)
        laid_in = scenery == "fetal" and rng.random() < _LAID_IN
        headless = laid_in or scenery == "none"
        image, brain = placed.rendered(
            self._labels[id(stack)], points, place, rng, grid, generator, headless=headless
        )
        if laid_in:
            head = self._head(rng, scenery)
            scale = _scale(rng, scenery, head)
            if rng.random() < 0.5:
                scale = placed.radius * rng.uniform(0.85, 1.1) / head.radius
            if rng.random() < 0.4:  # anywhere, as if it were not that uterus
                place = _place(rng, grid, head.radius * scale)
            pose = _rotation(rng, scenery), place
            moved = slices_apart(points, pose, _slice_groups(rng), 1.0, rng, grid) / scale
            moved = moved + warp(grid, rng.uniform(0, 4), 35, generator)
            own, present, brain = self._sampled(head, moved, rng, grid, pose[0] / scale)
            image = own + (1 - present) * image
        if rng.random() < 0.7:
            image = image * sensitivity(grid, rng, generator)
        if laid_in or rng.random() < 0.4:
            image = scanned(image, grid, rng, generator)
        return Example(image, brain, grid.sizes, scenery, fetus)

    def _head(self, rng: Random, scenery: Scenery) -> Packed:
        kind = "adult" if scenery == "adult" else "fetal"
        if scenery == "infant" and rng.random() < 0.6:
            kind = "adult"
        return self.objects[kind][rng.integers(len(self.objects[kind]))]

    def _sampled(
        self, thing: Packed, points: Tensor, rng: Random, grid: Grid, to_object: Tensor
    ) -> Tensor:
        """Intensity (0 where the object is absent), presence and brain at points of an object.

        `to_object` turns and scales the volume's axes, ``(3, 3)``, rows, as the points were.
        """
        lookup = torch.from_numpy(contrast(rng, thing)).to(self.device)
        labels = self._labels[id(thing)]
        if thing.kind == "fetal" and rng.random() < _WIDE:
            labels = with_more_fluid(labels, int(rng.integers(1, _WIDER + 1)))
        apart = min(grid.sizes) * float(to_object[0].norm())
        thick = grid.sizes[grid.slices]
        if thick < _THICK * min(grid.sizes):
            return sampled(thing, labels, lookup, points, apart)
        half = 0.5 * _WITHIN_SLICE * thick * to_object[grid.slices].to(points)
        first, second = (
            sampled(thing, labels, lookup, points + off, apart) for off in (half, -half)
        )
        return (first + second) / 2

    def _surroundings(
        self,
        rng: Random,
        points: Tensor,
        pose: tuple[Tensor, Tensor],
        radius: float,
        grid: Grid,
        generator: torch.Generator,
    ) -> Tensor:
        """Surroundings of the head: a uterus with space for it."""
        bodies = self.objects["surroundings"]
        body = bodies[rng.integers(len(bodies))]
        # larger spaces for larger heads, but not always the right one
        scale = float(np.clip(radius * rng.uniform(0.9, 1.25) / body.radius, 0.75, 1.3))
        turn = some_rotation(rng, 20 if rng.random() < 0.7 else 90)
        flip = torch.tensor(rng.choice((-1.0, 1.0), 3, p=(0.3, 0.7)), dtype=torch.float32)
        to_body = turn * flip / scale
        own = (points - pose[1].to(points)) @ to_body.to(points)
        own = own + warp(grid, rng.uniform(0, 12), 60, generator)
        image, _, _ = self._sampled(body, own, rng, grid, to_body)
        image = image * (1 + rng.uniform(0, 0.3) * noise(grid, 8, generator)).clamp(min=0.1)
        for _ in range(rng.integers(0, _DECOYS + 1)):
            image = _with_decoy(image, points, rng, grid, generator)
        return image

    def _with_twin(
        self, first: Tensor, rng: Random, points: Tensor, place: Tensor, radius: float, grid: Grid
    ) -> Tensor:
        """Put a second head beside the first; both as `sampled`."""
        twin = self._head(rng, "fetal")
        scale = radius / twin.radius
        direction = torch.as_tensor(rng.standard_normal(3), dtype=torch.float32)
        away = direction / direction.norm() * radius * rng.uniform(2.8, 4)
        to_twin = _rotation(rng, "fetal") / scale
        own = (points - (place + away).to(points)) @ to_twin.to(points)
        return first + (1 - first[1]) * self._sampled(twin, own, rng, grid, to_twin)

    def _phantom(self, rng: Random, points: Tensor) -> Tensor:
        """A bottle, a ball, or nothing."""
        kind = rng.integers(3)
        if kind == 0:
            return torch.zeros_like(points[..., 0])
        own = points @ _rotation(rng, "fetal").to(points)
        radii = rng.uniform(25, 100, 3)
        if kind == 1:
            radii[:] = radii[0]
        level = (own / torch.as_tensor(radii, dtype=torch.float32).to(points)).square()
        level = level[..., :2].sum(-1) if rng.random() < 0.5 else level.sum(-1)
        return BRAIN_MEAN * (level < 1).float()


def sampled(thing: Packed, labels: Tensor, lookup: Tensor, points: Tensor, apart: float) -> Tensor:
    """What a lookup table ``(256, C)`` says of an object's labels at points ``(X, Y, Z, 3)``.

    Labels are averaged, ``(C, X, Y, Z)``, where the points are further apart than its voxels.
    """
    images = lookup[labels.int()].movedim(-1, 0)[None]
    step = max(1, int(apart / thing.voxel_mm))
    if step > 1:
        images = avg_pool3d(images, step, ceil_mode=True)
    origin = torch.as_tensor(thing.origin, device=points.device, dtype=torch.float32)
    return interpolated(images, (points / thing.voxel_mm + origin - (step - 1) / 2) / step)


def with_more_fluid(labels: Tensor, voxels: int) -> Tensor:
    """Labels of a head whose brain gives way to fluid, by so many voxels or a little more."""
    fluid = (labels == IN_BRAIN + FLUID).to(torch.float32)[None, None]
    for axis in range(3):
        width = [2 * voxels + 1 if a == axis else 1 for a in range(3)]
        fluid = max_pool3d(fluid, width, 1, [w // 2 for w in width])
    grown = (fluid[0, 0] > 0) & (labels > IN_BRAIN)
    return torch.where(grown, IN_BRAIN + FLUID, labels)


def _with_decoy(
    image: Tensor, points: Tensor, rng: Random, grid: Grid, generator: torch.Generator
) -> Tensor:
    """Put something round there that is no head: it has no layers. Livers look so, and bladders.

    Every other one holds shapes of its own, as a trunk holds organs.
    """
    center = torch.as_tensor(rng.uniform(-0.5, 0.5, 3) * grid.extent, dtype=torch.float32)
    radii = np.exp(rng.uniform(np.log(12), np.log(55))) * rng.uniform(0.7, 1.4, 3)
    own = (points - center.to(points)) @ _rotation(rng, "fetal").to(points)
    distance = (own / torch.as_tensor(radii, dtype=torch.float32).to(points)).norm(dim=-1)
    distance = distance + rng.uniform(0, 0.3) * noise(grid, 30, generator)
    inside = torch.sigmoid(rng.uniform(10, 40) * (1 - distance))
    value = rng.uniform(20, 1800) * (1 + rng.uniform(0, 0.3) * noise(grid, 8, generator))
    if rng.random() < 0.5:
        value = value + shapes(grid, rng, generator, rng.uniform(8, 30)) - BRAIN_MEAN
    return image + inside * (value.clamp(min=0) - image)


def _scale(rng: Random, scenery: Scenery, head: Packed) -> float:
    """Size relative to the object's own."""
    if scenery == "adult":
        return float(rng.uniform(0.9, 1.1))
    if scenery == "infant":  # 30 to 60 mm, whatever it is made of
        return float(rng.uniform(38, 62) / head.radius)
    return float(rng.uniform(0.88, 1.12))


def _draw_grid(rng: Random, scenery: Scenery, radius: float) -> Grid:
    fetal = scenery in ("fetal", "none")
    in_plane = rng.uniform(2, 4) if fetal else rng.uniform(1.8, 4)
    thick = max(rng.uniform(2, 5), 0.8 * in_plane)
    if rng.random() < 0.4:
        thick = in_plane
    width = rng.uniform(220, 480) if fetal else rng.uniform(2.6, 3.4) * radius
    depth = rng.uniform(2.2, 6) * radius if fetal else rng.uniform(1.6, 3.0) * radius
    if rng.random() < 0.05:  # a slab, as in a scan of a few slices
        depth = rng.uniform(0.5, 1.2) * radius
    slices = int(rng.integers(3)) if fetal or rng.random() < 0.3 else 2
    if fetal and rng.random() < _FINE:
        in_plane, thick = rng.uniform(1.4, 2), rng.uniform(3, 4.5)
        width = min(width, 330)
    sizes = np.full(3, in_plane)
    sizes[slices] = thick
    extent = np.full(3, width) * rng.uniform(0.75, 1.0, 3)
    extent[slices] = min(depth, 320)
    return Grid.of(np.maximum(np.round(extent / sizes), 2), sizes, slices)


def _place(rng: Random, grid: Grid, radius: float) -> Tensor:
    """Where the brain's centre is: mostly with all of the brain in view, ``(3,)``."""
    inset = rng.uniform(0.5, 1.2) * radius
    room = np.maximum(grid.extent / 2 - inset, 0.1 * radius)
    toward = rng.uniform(-1, 1, 3) * rng.uniform(0.5, 1)
    return torch.as_tensor(toward * room, dtype=torch.float32)


def _rotation(rng: Random, scenery: Scenery) -> Tensor:
    """Any rotation for fetuses, at times for infants; others lie on their back, ``(3, 3)``."""
    if scenery in ("fetal", "none") or (scenery == "infant" and rng.random() < 0.3):
        return some_rotation(rng, 180)
    return some_rotation(rng, 30 if rng.random() < 0.8 else 75)


def _slice_groups(rng: Random) -> int:
    """How many groups of slices were acquired one after the other while the head moved; 1: none."""
    return int(rng.integers(2, 5)) if rng.random() < 0.3 else 1


def contrast(rng: Random, thing: Packed) -> np.ndarray:
    """Lookup ``(256, 3)``: intensity, presence and brain of every code."""
    many = len(thing.intensities)
    typical = np.float64(thing.intensities) * np.exp(rng.normal(0, 0.25, many))
    drawn = rng.uniform(100, 1700, many)
    if rng.random() < _TYPICAL:
        drawn = typical
    elif rng.random() < 0.5:  # a brain of little contrast
        drawn[:] = drawn + 0.8 * (BRAIN_MEAN * rng.uniform(0.5, 1.2) - drawn)
        drawn[rng.random(many) < 0.3] *= rng.uniform(0.1, 0.6)
    if rng.random() < _T2W:
        drawn[thing.intensities > _WATER_ABOVE] *= rng.uniform(1, _BRIGHTER)
    dark = thing.intensities < _AIR_BELOW
    drawn[dark] = thing.intensities[dark]
    lookup = np.zeros((256, 3), dtype=np.float32)
    for base in (0, IN_BRAIN):
        lookup[base : base + many, 0] = drawn
        lookup[base : base + many, 1] = 1
    lookup[[0, IN_BRAIN], :2] = 0
    lookup[IN_BRAIN:, 2] = 1
    return lookup

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
from torch.nn.functional import avg_pool3d, grid_sample, interpolate

from unimo_bids.training.anatomies import IN_BRAIN, Packed

Scenery = Literal["fetal", "infant", "adult", "none"]
Random = np.random.Generator

SCENERIES: tuple[Scenery, ...] = ("fetal", "infant", "adult", "none")
SHARES = (0.58, 0.12, 0.22, 0.08)
_TWINS = 0.08  # of the fetal scenes
_DECOYS = 4  # at most

# intensities of a typical EPI are kept, about, in some volumes; the others forget them
_TYPICAL = 0.7
_BRAIN_MEAN = 1000.0
_AIR_BELOW = 50.0


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
    """

    image: Tensor
    brain: Tensor
    sizes: tuple[float, float, float]
    scenery: Scenery


@dataclass(frozen=True)
class _Grid:
    """The scanner's voxels, and the axis along which it acquires slices."""

    shape: tuple[int, int, int]
    sizes: tuple[float, float, float]
    slices: int

    @property
    def extent(self) -> np.ndarray:
        return np.array(self.shape) * self.sizes

    def points(self, device: torch.device) -> Tensor:
        """Centres of the voxels, ``(X, Y, Z, 3)``."""
        axes = [
            size * (torch.arange(n, device=device, dtype=torch.float32) - (n - 1) / 2)
            for n, size in zip(self.shape, self.sizes, strict=True)
        ]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


class Scenes:
    """Draws examples from a set of objects.

    Parameters
    ----------
    objects
        Heads and surroundings.
    device
        Where to render.
    """

    def __init__(self, objects: Sequence[Packed], device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.objects: dict[str, list[Packed]] = {"adult": [], "fetal": [], "surroundings": []}
        for thing in objects:
            self.objects[thing.kind].append(thing)
        self._labels = {
            id(thing): torch.from_numpy(thing.labels).to(self.device) for thing in objects
        }

    def draw(self, rng: Random, scenery: Scenery | None = None) -> Example:
        """Render one volume; the same generator state gives the same volume."""
        if scenery is None:
            scenery = SCENERIES[rng.choice(len(SCENERIES), p=SHARES)]
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        head = self._head(rng, scenery)
        scale = _scale(rng, scenery, head)
        radius = head.radius * scale
        grid = _draw_grid(rng, scenery, radius)
        place = _place(rng, grid, radius)
        times = _slice_groups(rng, grid, generator)
        points = grid.points(self.device)
        points, squeeze = _distorted(points, rng, generator)
        pose = _rotation(rng, scenery), place
        head_points = _seen_by(points, pose, times, rng, scale, scenery, grid)
        head_points = head_points + _warp(grid, rng.uniform(0, 4), 35, generator)
        values = self._sampled(head, head_points, rng, grid, scale)
        image, present, brain = values
        if scenery in ("fetal", "none") and rng.random() < 0.9:
            behind = self._surroundings(rng, points, pose, radius, grid, generator)
            if scenery == "fetal" and rng.random() < _TWINS:
                image, present, brain = self._with_twin(rng, values, points, place, radius, grid)
            if scenery == "none":
                image, brain = behind, torch.zeros_like(brain)
            else:
                image = image + (1 - present) * behind
        elif scenery == "none":
            image, brain = self._phantom(rng, points), torch.zeros_like(brain)
        elif rng.random() < 0.05:  # somebody took off the skull already
            image = image * brain
        image = image * squeeze * _field(grid, rng, generator)
        image = _scanned(image, grid, rng, generator)
        return Example(image, brain, grid.sizes, scenery)

    def _head(self, rng: Random, scenery: Scenery) -> Packed:
        kind = "adult" if scenery == "adult" else "fetal"
        if scenery == "infant" and rng.random() < 0.6:
            kind = "adult"
        return self.objects[kind][rng.integers(len(self.objects[kind]))]

    def _sampled(
        self, thing: Packed, points: Tensor, rng: Random, grid: _Grid, scale: float = 1.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Intensity (0 where the object is absent), presence and brain at points of an object."""
        lookup = torch.from_numpy(_contrast(rng, thing)).to(self.device)
        codes = self._labels[id(thing)].int()
        images = lookup[codes].movedim(-1, 0)[None]
        width = min(grid.sizes) / (thing.voxel_mm * scale)
        step = max(1, int(width))  # averaged, lest it alias
        if step > 1:
            images = avg_pool3d(images, step, ceil_mode=True)
        origin = torch.as_tensor(thing.origin, device=self.device, dtype=torch.float32)
        indices = (points / thing.voxel_mm + origin - (step - 1) / 2) / step
        image, present, brain = _interpolated(images, indices)
        return image, present, brain

    def _surroundings(
        self,
        rng: Random,
        points: Tensor,
        pose: tuple[Tensor, Tensor],
        radius: float,
        grid: _Grid,
        generator: torch.Generator,
    ) -> Tensor:
        """What the head lies in: a uterus with space for it, or shapes without any meaning."""
        if rng.random() < 0.2:
            return _shapes(grid, rng, generator)
        bodies = self.objects["surroundings"]
        body = bodies[rng.integers(len(bodies))]
        # larger spaces for larger heads, but not always the right one
        scale = float(np.clip(radius * rng.uniform(0.9, 1.25) / body.radius, 0.75, 1.3))
        turn = _small_rotation(rng, 20 if rng.random() < 0.7 else 90)
        flip = torch.tensor(rng.choice((-1.0, 1.0), 3, p=(0.3, 0.7)), dtype=torch.float32)
        own = ((points - pose[1].to(points)) @ turn.to(points)) * flip.to(points) / scale
        own = own + _warp(grid, rng.uniform(0, 12), 60, generator)
        image, _, _ = self._sampled(body, own, rng, grid, scale)
        image = image * (1 + rng.uniform(0, 0.3) * _noise(grid, 8, generator)).clamp(min=0.1)
        for _ in range(rng.integers(0, _DECOYS + 1)):
            image = _with_decoy(image, points, rng, grid, generator)
        return image

    def _with_twin(
        self,
        rng: Random,
        first: tuple[Tensor, Tensor, Tensor],
        points: Tensor,
        place: Tensor,
        radius: float,
        grid: _Grid,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Put a second head beside the first."""
        twin = self._head(rng, "fetal")
        scale = radius / twin.radius
        direction = torch.as_tensor(rng.standard_normal(3), dtype=torch.float32)
        away = direction / direction.norm() * radius * rng.uniform(2.8, 4)
        own = (points - (place + away).to(points)) @ _rotation(rng, "fetal").to(points) / scale
        image, present, brain = self._sampled(twin, own, rng, grid, scale)
        behind = 1 - first[1]
        return (
            first[0] + behind * image,
            first[1] + behind * present,
            first[2] + behind * brain,
        )

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
        return _BRAIN_MEAN * (level < 1).float()


def _with_decoy(
    image: Tensor, points: Tensor, rng: Random, grid: _Grid, generator: torch.Generator
) -> Tensor:
    """Put something round there that is no head: it has no layers. Livers look so, and bladders."""
    center = torch.as_tensor(rng.uniform(-0.5, 0.5, 3) * grid.extent, dtype=torch.float32)
    radii = np.exp(rng.uniform(np.log(12), np.log(55))) * rng.uniform(0.7, 1.4, 3)
    own = (points - center.to(points)) @ _rotation(rng, "fetal").to(points)
    distance = (own / torch.as_tensor(radii, dtype=torch.float32).to(points)).norm(dim=-1)
    distance = distance + rng.uniform(0, 0.3) * _noise(grid, 30, generator)
    inside = torch.sigmoid(rng.uniform(10, 40) * (1 - distance))
    value = rng.uniform(20, 1800) * (1 + rng.uniform(0, 0.3) * _noise(grid, 8, generator))
    return image + inside * (value.clamp(min=0) - image)


def _scale(rng: Random, scenery: Scenery, head: Packed) -> float:
    """Size relative to the object's own."""
    if scenery == "adult":
        return float(rng.uniform(0.9, 1.1))
    if scenery == "infant":  # 30 to 60 mm, whatever it is made of
        return float(rng.uniform(38, 62) / head.radius)
    return float(rng.uniform(0.88, 1.12))


def _draw_grid(rng: Random, scenery: Scenery, radius: float) -> _Grid:
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
    sizes = np.full(3, in_plane)
    sizes[slices] = thick
    extent = np.full(3, width) * rng.uniform(0.75, 1.0, 3)
    extent[slices] = min(depth, 320)
    shape = np.maximum(np.round(extent / sizes), 2).astype(int)
    return _Grid(
        (int(shape[0]), int(shape[1]), int(shape[2])),
        (float(sizes[0]), float(sizes[1]), float(sizes[2])),
        slices,
    )


def _place(rng: Random, grid: _Grid, radius: float) -> Tensor:
    """Where the brain's centre is: mostly with all of the brain in view, ``(3,)``."""
    inset = rng.uniform(0.5, 1.2) * radius
    room = np.maximum(grid.extent / 2 - inset, 0.1 * radius)
    toward = rng.uniform(-1, 1, 3) * rng.uniform(0.5, 1)
    return torch.as_tensor(toward * room, dtype=torch.float32)


def _rotation(rng: Random, scenery: Scenery) -> Tensor:
    """Any rotation for who can have any; others lie on their back, more or less, ``(3, 3)``."""
    if scenery in ("fetal", "none") or (scenery == "infant" and rng.random() < 0.3):
        return _small_rotation(rng, 180)
    return _small_rotation(rng, 30 if rng.random() < 0.8 else 75)


def _small_rotation(rng: Random, most: float) -> Tensor:
    """A turn of up to `most` degrees about any axis; 180 is uniform over all rotations."""
    if most >= 180:
        q = rng.standard_normal(4)
    else:
        angle, axis = np.deg2rad(rng.uniform(0, most)), rng.standard_normal(3)
        q = np.concatenate([[np.cos(angle / 2)], np.sin(angle / 2) * axis / np.linalg.norm(axis)])
    w, x, y, z = q / np.linalg.norm(q)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.tensor(rows, dtype=torch.float32)


def _slice_groups(rng: Random, grid: _Grid, generator: torch.Generator) -> int:
    """How many groups of slices were acquired one after the other while the head moved; 1: none."""
    return int(rng.integers(2, 5)) if rng.random() < 0.3 else 1


def _seen_by(
    points: Tensor,
    pose: tuple[Tensor, Tensor],
    groups: int,
    rng: Random,
    scale: float,
    scenery: Scenery,
    grid: _Grid,
) -> Tensor:
    """Points of the head that the voxels show, each group of slices at its own pose."""
    rotation, place = (part.to(points) for part in pose)
    if groups == 1:
        return (points - place) @ rotation / scale
    most = 1.0 if scenery == "fetal" else 0.3
    out = torch.empty_like(points)
    for group in range(groups):
        turned = rotation @ _small_rotation(rng, 10 * most).to(points)
        shift = torch.as_tensor(rng.normal(0, 3 * most, 3), dtype=torch.float32).to(points)
        which = [slice(None)] * 3
        which[grid.slices] = slice(group, None, groups)
        out[tuple(which)] = (points[tuple(which)] - place - shift) @ turned / scale
    return out


def _distorted(
    points: Tensor, rng: Random, generator: torch.Generator
) -> tuple[Tensor, Tensor | float]:
    """Points that the voxels show once the field has shifted them along one axis, and Jacobian."""
    if rng.random() < 0.4:
        return points, 1.0
    axis = int(rng.integers(3))
    shape = points.shape[:3]
    shift = rng.uniform(0, 6) * _smooth(shape, [7, 7, 7], generator)
    span = float(points[-1, -1, -1, axis] - points[0, 0, 0, axis])
    step = span / max(shape[axis] - 1, 1)
    slope = torch.gradient(shift, spacing=step, dim=axis)[0] if shape[axis] > 1 else 0 * shift
    moved = points.clone()
    moved[..., axis] += shift
    return moved, (1 + slope).clamp(0.3, 2)


def _contrast(rng: Random, thing: Packed) -> np.ndarray:
    """Lookup ``(256, 3)``: intensity, presence and brain of every code."""
    many = len(thing.intensities)
    typical = np.float64(thing.intensities) * np.exp(rng.normal(0, 0.25, many))
    drawn = rng.uniform(100, 1700, many)
    if rng.random() < _TYPICAL:
        drawn = typical
    elif rng.random() < 0.5:  # a brain of little contrast
        drawn[:] = drawn + 0.8 * (_BRAIN_MEAN * rng.uniform(0.5, 1.2) - drawn)
        drawn[rng.random(many) < 0.3] *= rng.uniform(0.1, 0.6)
    dark = thing.intensities < _AIR_BELOW
    drawn[dark] = thing.intensities[dark]
    lookup = np.zeros((256, 3), dtype=np.float32)
    for base in (0, IN_BRAIN):
        lookup[base : base + many, 0] = drawn
        lookup[base : base + many, 1] = 1
    lookup[[0, IN_BRAIN], :2] = 0
    lookup[IN_BRAIN:, 2] = 1
    return lookup


def _interpolated(images: Tensor, indices: Tensor) -> Tensor:
    """Trilinear values ``(C, X, Y, Z)`` of ``(1, C, …)`` at indices ``(X, Y, Z, 3)``, else 0."""
    shape = torch.tensor(images.shape[2:], device=images.device, dtype=torch.float32)
    where = (2 * indices / (shape - 1).clamp(min=1) - 1).flip(-1)[None]
    return grid_sample(images, where, align_corners=True)[0]


def _smooth(shape: Sequence[int], knots: Sequence[int], generator: torch.Generator) -> Tensor:
    """Smooth field about ±1: noise at a few knots along each axis, interpolated."""
    many = [max(2, k) for k in knots]
    coarse = torch.randn(1, 1, *many, generator=generator, device=generator.device)
    field = interpolate(coarse, size=list(shape), mode="trilinear", align_corners=True)
    return field[0, 0]


def _noise(grid: _Grid, scale: float, generator: torch.Generator) -> Tensor:
    """Smooth field about ±1 that varies over `scale` mm."""
    return _smooth(grid.shape, [int(e / scale) + 2 for e in grid.extent], generator)


def _warp(grid: _Grid, amount: float, scale: float, generator: torch.Generator) -> Tensor:
    """Smooth displacement ``(X, Y, Z, 3)`` of about `amount` mm."""
    return amount * torch.stack([_noise(grid, scale, generator) for _ in range(3)], dim=-1)


def _shapes(grid: _Grid, rng: Random, generator: torch.Generator) -> Tensor:
    """Shapes of random intensity: a smooth field cut at levels."""
    field = _noise(grid, rng.uniform(12, 60), generator)
    levels = torch.linspace(-1.5, 1.5, int(rng.integers(2, 8)), device=field.device)
    lookup = torch.as_tensor(rng.uniform(0, 2000, len(levels) + 1), dtype=torch.float32)
    return lookup.to(field)[torch.bucketize(field.contiguous(), levels)]


def _field(grid: _Grid, rng: Random, generator: torch.Generator) -> Tensor:
    """Sensitivity of the coils: smooth, at times strong, at times falling off from one place."""
    log = rng.uniform(0, 0.4) * _smooth(grid.shape, [4, 4, 4], generator)
    if rng.random() < 0.4:
        place = torch.as_tensor(rng.uniform(-0.3, 0.3, 3) * grid.extent, dtype=torch.float32)
        distance = (grid.points(log.device) - place.to(log)).square().sum(-1)
        log = log - distance / (2 * rng.uniform(110, 300) ** 2)
    return log.exp()


def _scanned(image: Tensor, grid: _Grid, rng: Random, generator: torch.Generator) -> Tensor:
    """What the scanner makes of it: texture, slice gains, dropout, ghost, blur and noise."""
    image = image * (1 + rng.uniform(0, 0.12) * _noise(grid, 5, generator)).clamp(min=0.1)
    many = grid.shape[grid.slices]
    if rng.random() < 0.4:
        interleave = int(rng.integers(2, 5))
        gains = 1 - rng.uniform(0, 0.5) * rng.random(interleave)[np.arange(many) % interleave]
        gains *= 1 + rng.uniform(0, 0.1) * rng.standard_normal(many)
        shape = [1, 1, 1]
        shape[grid.slices] = many
        image = image * torch.as_tensor(gains.clip(0.05), dtype=torch.float32).to(image).view(shape)
    if rng.random() < 0.3:  # signal is lost beside air
        image = image * torch.sigmoid(rng.uniform(3, 8) * (1.6 - _noise(grid, 40, generator)))
    if rng.random() < 0.3:
        axis = int(rng.choice([a for a in range(3) if a != grid.slices]))
        image = image + rng.uniform(0, 0.1) * image.roll(grid.shape[axis] // 2, axis)
    if rng.random() < 0.3 and min(grid.shape) > 2:
        image = avg_pool3d(image[None, None], 3, 1, 1, count_include_pad=False)[0, 0]
    sigma = _BRAIN_MEAN / np.exp(rng.uniform(np.log(6), np.log(80)))
    real, imaginary = torch.randn(2, *image.shape, generator=generator, device=generator.device)
    return torch.hypot(image + sigma * real, sigma * imaginary)

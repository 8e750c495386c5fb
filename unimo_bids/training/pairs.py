"""Two scans of one object in different poses, and the pose between them: rendered on any device.

Objects are the heads of `anatomies`, and procedural organs that look like nothing in particular.
Each scan has its own artefacts, and at times its own contrast or voxels. What is drawn is what the
network reads: a box around the object, some of its surroundings, and a mask that is not perfect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from unimo_bids.networks.pose import VOXELS, WIDTH
from unimo_bids.spatial import rigid
from unimo_bids.spatial.boxes import Box
from unimo_bids.training.anatomies import IN_BRAIN, Packed, heads_of
from unimo_bids.training.scanner import (
    Grid,
    Random,
    centroid,
    distorted,
    noise,
    scanned,
    sensitivity,
    shapes,
    slices_apart,
    some_rotation,
    some_voxels,
)
from unimo_bids.training.scenes import contrast, sampled
from unimo_bids.training.stacks import Stack

What = Literal["adult", "fetal", "organ"]

KINDS: tuple[What, ...] = ("fetal", "adult", "organ")
SHARES = (0.6, 0.2, 0.2)
# radii that heads are scanned with, mm
_RADII = {"fetal": (26.0, 60.0), "adult": (50.0, 75.0), "organ": (25.0, 80.0)}
_ANY_ROTATION = 0.5  # of the pairs; the others turn by less
_OTHER_CONTRAST = 0.35
_OTHER_GRID = 0.3
_MASKLESS = 0.12
_CLEAN = 0.3
_CROWDED = 0.6  # with something around what is scanned
# slices acquired in groups between which it moved, and how far (`slices_apart`)
_IN_PARTS, _APART = 0.25, {"fetal": 0.7, "adult": 0.3, "organ": 0.4}
_ORGAN_VOXELS = 64
_DISTORTION_MM, _SENSITIVITY = 4.0, 0.7  # at most, about


@dataclass(frozen=True)
class Pair:
    """Two volumes as the network reads them, and the truth.

    Attributes
    ----------
    images, masks
        ``(2, X, Y, Z)`` fixed and moving, in boxes of `networks.pose`.
    pose
        ``(4, 4)`` fixed → moving, in radii from the middle of the boxes.
    radius
        mm; a radius in `pose` is so much.
    """

    images: Tensor
    masks: Tensor
    pose: Tensor
    masked: bool
    what: What
    radius: float


class Pairs:
    """Draws pairs of scans."""

    def __init__(
        self, objects: Sequence[Packed | Stack], device: torch.device | str = "cpu"
    ) -> None:
        self.device = torch.device(device)
        self.heads = heads_of(objects)

    def draw(
        self,
        rng: Random,
        what: What | None = None,
        *,
        turn: float | None = None,
        shift: float | None = None,
        clean: bool | None = None,
        masked: bool | None = None,
        other_contrast: bool | None = None,
    ) -> Pair:
        """Render a pair; the same generator state gives the same pair.

        Parameters
        ----------
        what
            To scan; drawn if not given, like all that follows.
        turn, shift
            Most degrees, and most mm along each axis, from one scan to the other.
        clean
            Without artefacts other than voxels and a little noise.
        masked, other_contrast
            Whether masks are given, and whether contrasts differ.
        """
        what = what or KINDS[rng.choice(len(KINDS), p=SHARES)]
        thing = organ(rng) if what == "organ" else self._head(rng, what)
        radius = float(rng.uniform(*_RADII[what]))
        if turn is None:
            turn = 180.0 if rng.random() < _ANY_ROTATION else float(rng.choice((5.0, 20.0, 60.0)))
        if clean is None:
            clean = bool(rng.random() < _CLEAN)
        if masked is None:
            masked = bool(rng.random() > _MASKLESS)
        if other_contrast is None:
            other_contrast = bool(rng.random() < _OTHER_CONTRAST)
        shift = float(rng.uniform(0, 0.3 * radius)) if shift is None else shift
        stretch = torch.eye(3) + 0.06 * torch.as_tensor(rng.standard_normal((3, 3))).float()
        scale = radius / thing.radius
        looks = [contrast(rng, thing)]
        looks.append(contrast(rng, thing) if other_contrast else looks[0])
        first = some_rotation(rng, 180)
        places = [torch.as_tensor(rng.uniform(-0.1, 0.1, 3) * radius).float()]
        places.append(places[0] + torch.as_tensor(rng.uniform(-shift, shift, 3)).float())
        poses = [(first, places[0]), (some_rotation(rng, turn) @ first, places[1])]
        grid = _draw_grid(rng, radius, shift)
        grids = [grid, _draw_grid(rng, radius, shift) if rng.random() < _OTHER_GRID else grid]
        labels = torch.from_numpy(thing.labels).to(self.device)
        shrink, apart = stretch / scale, _APART[what]
        scans = [
            _scan(thing, labels, look, pose, shrink, own_grid, rng, apart=apart, clean=clean)
            for look, pose, own_grid in zip(looks, poses, grids, strict=True)
        ]
        return _as_read(scans, poses, masked, what, radius, rng, clean)

    def _head(self, rng: Random, what: What) -> Packed:
        return self.heads[what][rng.integers(len(self.heads[what]))]


def organ(rng: Random) -> Packed:
    """A lump with parts of several intensities, unlike its mirror image."""
    n = _ORGAN_VOXELS
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    grid = Grid((n, n, n), (1.0, 1.0, 1.0), 2)
    points = grid.points(torch.device("cpu"))
    reach = torch.as_tensor(n / 4 * rng.uniform(0.7, 1.3, 3)).float()
    bumps = noise(grid, float(rng.uniform(14, 24)), generator)
    inside = (points / reach).norm(dim=-1) + rng.uniform(0.15, 0.35) * bumps < 1
    parts = _levels(noise(grid, float(rng.uniform(6, 16)), generator), rng)
    around = 8 + _levels(noise(grid, float(rng.uniform(8, 20)), generator), rng)
    labels = torch.where(inside, parts + IN_BRAIN, around).to(torch.uint8).numpy()
    where = np.argwhere(labels >= IN_BRAIN)
    return Packed(
        labels=labels,
        voxel_mm=1.0,
        origin=where.mean(axis=0),
        intensities=np.concatenate([[0], rng.uniform(100, 1700, 15)]).astype(np.float32),
        kind="adult",
        name="organ",
        radius=float((3 * len(where) / (4 * np.pi)) ** (1 / 3)),
        held_back=False,
    )


def _levels(field: Tensor, rng: Random) -> Tensor:
    """Labels 1 to 7 of a field that is about ±1."""
    return 1 + torch.bucketize(field.contiguous(), torch.linspace(-1, 1, int(rng.integers(2, 7))))


def _draw_grid(rng: Random, radius: float, shift: float) -> Grid:
    """Enough voxels for the object wherever it turns, at times not enough slices."""
    sizes, slices = some_voxels(rng, 1.8)
    extent = np.full(3, 3.0 * radius + 2 * shift)
    if rng.random() < 0.15:
        extent[slices] = rng.uniform(1.4, 2.2) * radius
    shape = (max(8, round(e / size)) for e, size in zip(extent, sizes, strict=True))
    return Grid.of(shape, sizes, slices)


def _scan(
    thing: Packed,
    labels: Tensor,
    look: np.ndarray,
    pose: tuple[Tensor, Tensor],
    shrink: Tensor,
    grid: Grid,
    rng: Random,
    *,
    apart: float,
    clean: bool,
) -> tuple[Tensor, Tensor, Grid]:
    """Image and brain ``(X, Y, Z)``: how the scanner sees an object in a pose, on its grid."""
    generator = torch.Generator(labels.device).manual_seed(int(rng.integers(2**62)))
    crowded = rng.random() < _CROWDED
    points, groups = grid.points(labels.device), 1
    squeeze: Tensor | float = 1.0
    if not clean:
        points, squeeze = distorted(points, _DISTORTION_MM, rng, generator)
        groups = int(rng.integers(2, 5)) if rng.random() < _IN_PARTS else 1
    amount = apart * rng.uniform(0, 1)
    own = slices_apart(points, pose, groups, amount, rng, grid, centered=True)
    own = own @ shrink.to(points)
    lookup = torch.from_numpy(look).to(labels.device)
    width = min(grid.sizes) * float(shrink.det().abs()) ** (1 / 3)
    image, present, brain = sampled(thing, labels, lookup, own, width)
    if crowded:
        image = image + (1 - present) * shapes(grid, rng, generator, float(rng.uniform(12, 60)))
    if not clean:
        image = image * squeeze * sensitivity(grid, rng, generator, _SENSITIVITY)
        image = scanned(image, grid, rng, generator)
    return image, brain, grid


def _as_read(
    scans: Sequence[tuple[Tensor, Tensor, Grid]],
    poses: Sequence[tuple[Tensor, Tensor]],
    masked: bool,
    what: What,
    radius: float,
    rng: Random,
    clean: bool,
) -> Pair:
    """Volumes in boxes around imperfect masks, of a size that is not known exactly either."""
    radius = radius * float(np.exp(0.05 * rng.standard_normal()))
    images, masks, offsets = [], [], []
    for (image, brain, grid), (_, place) in zip(scans, poses, strict=True):
        mask = brain if clean else roughened(brain, grid, rng)
        middle = (np.array(grid.shape) - 1) * grid.sizes / 2
        center = centroid(mask, grid.sizes) if masked else middle + place.double().numpy()
        if not masked:
            center = center + rng.normal(0, 0.08 * radius, 3)
        box = Box(WIDTH * radius / VOXELS, (VOXELS,) * 3, tuple(center.tolist()))
        images.append(box.read(image, grid.sizes))
        masks.append(box.read(mask, grid.sizes) if masked else torch.ones_like(images[-1]))
        offsets.append(place.double() - torch.as_tensor(center - middle))
    rotation = (poses[1][0] @ poses[0][0].mT).double()
    translation = (offsets[1] - rotation @ offsets[0]) / radius
    return Pair(
        torch.stack(images),
        torch.stack(masks).clamp(0, 1),
        rigid.from_rotation(rotation, translation),
        masked,
        what,
        radius,
    )


def roughened(brain: Tensor, grid: Grid, rng: Random) -> Tensor:
    """A mask as a program might draw it: too wide or narrow, its edge wanders, a part is wrong."""
    generator = torch.Generator(brain.device).manual_seed(int(rng.integers(2**62)))
    blurred = _blurred(brain, grid, 4.0)
    wander = rng.normal(0, 0.12) + rng.uniform(0, 0.25) * noise(
        grid, rng.uniform(12, 40), generator
    )
    if rng.random() < 0.25:  # something beside it, or less than all of it
        place = torch.as_tensor(rng.standard_normal(3) * 0.3 * grid.extent / 2).float()
        ball = (grid.points(brain.device) - place.to(brain)).norm(dim=-1)
        ball = (1 - ball / float(rng.uniform(8, 25))).clamp(0, 1)
        wander = wander + rng.choice((-1.0, 1.0)) * ball
    mask = (0.5 + 4 * (blurred - 0.5 + wander)).clamp(0, 1)
    return mask * (_blurred(blurred, grid, 8.0) > 0.02)


def _blurred(image: Tensor, grid: Grid, width: float) -> Tensor:
    """Averaged over a few voxels along each axis, about `width` mm."""
    for axis, size in enumerate(grid.sizes):
        reach = max(1, round(width / size))
        parts = [image.roll(step, axis) for step in range(-reach, reach + 1)]
        image = torch.stack(parts).mean(dim=0)
    return image

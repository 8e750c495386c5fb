"""What scanners and smooth chance make of points and images: fields, distortion, slices, noise.

All lengths are mm, all points are along a volume's axes, from the middle of its field of view.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, grid_sample, interpolate

from unimo_bids.spatial import rigid

Random = np.random.Generator

BRAIN_MEAN = 1000.0


@dataclass(frozen=True)
class Grid:
    """The scanner's voxels, and the axis along which it acquires slices."""

    shape: tuple[int, int, int]
    sizes: tuple[float, float, float]
    slices: int

    @classmethod
    def of(cls, shape: Iterable[float], sizes: Iterable[float], slices: int) -> Grid:
        """From arrays of whole numbers and of mm."""
        x, y, z = (int(n) for n in shape)
        a, b, c = (float(size) for size in sizes)
        return cls((x, y, z), (a, b, c), slices)

    @property
    def extent(self) -> np.ndarray:
        """``(3,)`` of the field of view."""
        return np.array(self.shape) * self.sizes

    def points(self, device: torch.device) -> Tensor:
        """Centres of the voxels, ``(X, Y, Z, 3)``."""
        axes = [
            size * (torch.arange(n, device=device, dtype=torch.float32) - (n - 1) / 2)
            for n, size in zip(self.shape, self.sizes, strict=True)
        ]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)

    def group(self, number: int, groups: int) -> tuple[slice, ...]:
        """Index of every so many slices, from a number on, in ``(X, Y, Z)``."""
        index = [slice(None)] * 3
        index[self.slices] = slice(number, None, groups)
        return tuple(index)


def centroid(mask: Tensor, sizes: Sequence[float]) -> np.ndarray:
    """Middle of a mask ``(X, Y, Z)``, or of the field of view if it is empty; mm from voxel 0."""
    total = float(mask.sum())
    if total < 1:
        return (np.array(mask.shape) - 1) * sizes / 2
    marginals = [mask.sum(tuple(b for b in range(3) if b != a)).cpu() for a in range(3)]
    places = [float((m * torch.arange(len(m))).sum()) / total for m in marginals]
    return np.array(places) * sizes


def some_voxels(rng: Random, least: float) -> tuple[np.ndarray, int]:
    """Voxel sizes ``(3,)`` from `least` mm on, often with thicker slices, and the slices' axis."""
    in_plane = float(rng.uniform(least, 4))
    thick = in_plane if rng.random() < 0.4 else max(float(rng.uniform(2, 5)), 0.8 * in_plane)
    slices = int(rng.integers(3))
    sizes = np.full(3, in_plane)
    sizes[slices] = thick
    return sizes, slices


def some_rotation(rng: Random, most: float) -> Tensor:
    """A turn of up to `most` degrees about any axis; 180 is uniform over all rotations."""
    if most >= 180:
        q = rng.standard_normal(4)
    else:
        angle, axis = np.deg2rad(rng.uniform(0, most)), rng.standard_normal(3)
        q = np.concatenate([[np.cos(angle / 2)], np.sin(angle / 2) * axis / np.linalg.norm(axis)])
    w, *axes = q / np.linalg.norm(q)
    return rigid.quaternion_matrix(torch.tensor([*axes, w], dtype=torch.float64)).float()


def slices_apart(
    points: Tensor,
    pose: tuple[Tensor, Tensor],
    groups: int,
    amount: float,
    rng: Random,
    grid: Grid,
    *,
    centered: bool = False,
) -> Tensor:
    """Points of the head that the voxels show, each group of slices at a pose of its own.

    `amount` says how far apart: 1 is up to 10 degrees and 3 mm of standard deviation. If they are
    `centered`, the pose is their mean.
    """
    rotation, place = (part.to(points) for part in pose)
    if groups == 1:
        return (points - place) @ rotation
    drawn = [(some_rotation(rng, 10 * amount), rng.normal(0, 3 * amount, 3)) for _ in range(groups)]
    turns = torch.stack([turn for turn, _ in drawn]).to(points)
    shifts = torch.as_tensor(np.array([shift for _, shift in drawn]), dtype=points.dtype).to(points)
    if centered:
        turns = rigid.nearest_rotation(turns.mean(dim=0)).mT @ turns
        shifts = shifts - shifts.mean(dim=0)
    out = torch.empty_like(points)
    for group, (turn, shift) in enumerate(zip(turns, shifts, strict=True)):
        which = grid.group(group, groups)
        out[which] = (points[which] - place - shift) @ (rotation @ turn)
    return out


def distorted(
    points: Tensor, most: float, rng: Random, generator: torch.Generator
) -> tuple[Tensor, Tensor | float]:
    """Points that the voxels show once the field has shifted them along one axis, and Jacobian.

    The shift is smooth, and about `most` mm at most.
    """
    if rng.random() < 0.4:
        return points, 1.0
    axis = int(rng.integers(3))
    shape = points.shape[:3]
    shift = rng.uniform(0, most) * _smooth(shape, [7, 7, 7], generator)
    span = float(points[-1, -1, -1, axis] - points[0, 0, 0, axis])
    step = span / max(shape[axis] - 1, 1)
    slope = torch.gradient(shift, spacing=step, dim=axis)[0] if shape[axis] > 1 else 0 * shift
    moved = points.clone()
    moved[..., axis] += shift
    return moved, (1 + slope).clamp(0.3, 2)


def interpolated(images: Tensor, indices: Tensor) -> Tensor:
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


def noise(grid: Grid, scale: float, generator: torch.Generator) -> Tensor:
    """Smooth field about ±1 that varies over `scale` mm."""
    return _smooth(grid.shape, [int(e / scale) + 2 for e in grid.extent], generator)


def warp(grid: Grid, amount: float, scale: float, generator: torch.Generator) -> Tensor:
    """Smooth displacement ``(X, Y, Z, 3)`` of about `amount` mm."""
    return amount * torch.stack([noise(grid, scale, generator) for _ in range(3)], dim=-1)


def shapes(grid: Grid, rng: Random, generator: torch.Generator, size: float) -> Tensor:
    """Shapes of random intensity: a field, smooth over a size in mm, cut at levels."""
    field = noise(grid, size, generator)
    levels = torch.linspace(-1.5, 1.5, int(rng.integers(2, 8)), device=field.device)
    lookup = torch.as_tensor(rng.uniform(0, 2000, len(levels) + 1), dtype=torch.float32)
    return lookup.to(field)[torch.bucketize(field.contiguous(), levels)]


def sensitivity(
    grid: Grid, rng: Random, generator: torch.Generator, strongest: float = 0.4
) -> Tensor:
    """Sensitivity of the coils: smooth, at times strong, at times falling off from one place."""
    log = rng.uniform(0, strongest) * _smooth(grid.shape, [4, 4, 4], generator)
    if rng.random() < 0.4:
        place = torch.as_tensor(rng.uniform(-0.3, 0.3, 3) * grid.extent, dtype=torch.float32)
        distance = (grid.points(log.device) - place.to(log)).square().sum(-1)
        log = log - distance / (2 * rng.uniform(110, 300) ** 2)
    return log.exp()


def scanned(image: Tensor, grid: Grid, rng: Random, generator: torch.Generator) -> Tensor:
    """Add what a scanner adds: texture, slice gains, dropout, ghost, blur and noise."""
    image = image * (1 + rng.uniform(0, 0.12) * noise(grid, 5, generator)).clamp(min=0.1)
    many = grid.shape[grid.slices]
    if rng.random() < 0.4:
        interleave = int(rng.integers(2, 5))
        gains = 1 - rng.uniform(0, 0.5) * rng.random(interleave)[np.arange(many) % interleave]
        gains *= 1 + rng.uniform(0, 0.1) * rng.standard_normal(many)
        shape = [1, 1, 1]
        shape[grid.slices] = many
        image = image * torch.as_tensor(gains.clip(0.05), dtype=torch.float32).to(image).view(shape)
    if rng.random() < 0.3:  # signal is lost beside air
        image = image * torch.sigmoid(rng.uniform(3, 8) * (1.6 - noise(grid, 40, generator)))
    if rng.random() < 0.3:
        axis = int(rng.choice([a for a in range(3) if a != grid.slices]))
        image = image + rng.uniform(0, 0.1) * image.roll(grid.shape[axis] // 2, axis)
    if rng.random() < 0.3 and min(grid.shape) > 2:
        image = avg_pool3d(image[None, None], 3, 1, 1, count_include_pad=False)[0, 0]
    sigma = BRAIN_MEAN / np.exp(rng.uniform(np.log(6), np.log(80)))
    real, imaginary = torch.randn(2, *image.shape, generator=generator, device=generator.device)
    return torch.hypot(image + sigma * real, sigma * imaginary)

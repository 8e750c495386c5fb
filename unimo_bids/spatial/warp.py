"""Where places of the reference are in a volume: what motion and distortion do to points.

A warp maps points ``(N, 3)``, RAS mm, and knows its Jacobian there. Motion is `Rigid`, or
`SliceWise` where a head moves while its slices are acquired; `Affine` stretches as well; a `Field`
adds displacements; `Composed` is one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.interpolation import gradient, sample_linear

_STEPS = 4  # towards the nearest slice


class Warp(Protocol):
    """Reference → volume."""

    def __call__(self, points: Tensor) -> Tensor:
        """Points ``(N, 3)``, RAS mm, in the volume."""

    def jacobian(self, points: Tensor) -> Tensor:
        """Derivative at points ``(N, 3)``: ``(N, 3, 3)``, row by row of the result."""


@dataclass(frozen=True, eq=False)
class Affine:
    """One matrix ``(4, 4)`` for all points, which may stretch as well."""

    matrix: Tensor

    def __call__(self, points: Tensor) -> Tensor:
        """Points in the volume."""
        return rigid.transform(self.matrix.to(points), points)

    def jacobian(self, points: Tensor) -> Tensor:
        """The matrix's linear part, everywhere."""
        return self.matrix[:3, :3].to(points).expand(len(points), 3, 3)


class Rigid(Affine):
    """One pose ``(4, 4)`` for all points: it only turns and shifts."""


@dataclass(frozen=True, eq=False)
class SliceWise:
    """A pose for each slice: a place goes with the slice that passes it most closely.

    Attributes
    ----------
    grid
        Of the volume.
    axis
        Of its slices.
    poses
        ``(S, 4, 4)`` float64 RAS mm, reference → volume while that slice was acquired.
    """

    grid: Grid
    axis: int
    poses: Tensor

    def __call__(self, points: Tensor) -> Tensor:
        """Points in the volume."""
        return _each(self.poses[self.nearest(points)], points.to(self.poses)).to(points)

    def jacobian(self, points: Tensor) -> Tensor:
        """The rotation of the slice; where another passes more closely, the warp has a step."""
        return self.poses[self.nearest(points), :3, :3].to(points)

    def nearest(self, points: Tensor) -> Tensor:
        """The slice ``(N,)`` that passes each point most closely, found by going towards it."""
        points = points.to(self.poses)
        slices = len(self.poses)
        number = torch.full((len(points),), slices // 2, dtype=torch.long, device=points.device)
        for _ in range(_STEPS):
            number = self.along(points, number).round().long().clamp(0, slices - 1)
        return number

    def along(self, points: Tensor, slices: Tensor) -> Tensor:
        """Index along the slices' axis that points have by the poses of these slices, ``(N,)``."""
        row = self._to_index[slices, self.axis]
        return (row[:, :3] * points).sum(dim=1) + row[:, 3]

    def indices(self, points: Tensor, slices: Tensor) -> Tensor:
        """Indices ``(N, 3)`` that points have in the volume by the poses of these slices."""
        return _each(self._to_index[slices], points)

    def shown(self, indices: Tensor) -> Tensor:
        """Places ``(N, 3)`` of the reference that voxels at indices ``(N, 3)`` show."""
        back = rigid.inverse(self.poses) @ self.grid.affine
        return _each(back[indices[:, self.axis].long()], indices)

    @cached_property
    def _to_index(self) -> Tensor:
        return self.grid.to_index.to(self.poses) @ self.poses


@dataclass(frozen=True, eq=False)
class Field:
    """Displacements ``(3, X, Y, Z)``, RAS mm, of a grid's voxels; beyond it, those at its border.

    Between the voxels, displacements and their slopes are interpolated linearly.
    """

    grid: Grid
    displacement: Tensor

    def __call__(self, points: Tensor) -> Tensor:
        """Points in the volume."""
        return points + self._read(self.displacement, points).mT.to(points)

    def jacobian(self, points: Tensor) -> Tensor:
        """``1 + ∂u/∂x``."""
        slopes = gradient(self.displacement, self.grid.affine)  # (3, X, Y, Z, 3)
        images = slopes.permute(0, 4, 1, 2, 3).flatten(0, 1)
        found = self._read(images, points).mT.reshape(-1, 3, 3)
        return torch.eye(3).to(points) + found.to(points)

    def _read(self, images: Tensor, points: Tensor) -> Tensor:
        indices = rigid.transform(self.grid.to_index.to(points.device), points.double())
        return sample_linear(images[None], indices.to(images.dtype)[None])[0]


@dataclass(frozen=True, eq=False)
class Composed:
    """First one warp, then another of what it gave."""

    first: Warp
    then: Warp

    def __call__(self, points: Tensor) -> Tensor:
        """Points in the volume."""
        return self.then(self.first(points))

    def jacobian(self, points: Tensor) -> Tensor:
        """By the chain rule."""
        return self.then.jacobian(self.first(points)) @ self.first.jacobian(points)


def matrix_of(warp: Warp) -> Tensor | None:
    """The one matrix ``(4, 4)`` float64 that a warp comes to, on the CPU; None if it bends."""
    if isinstance(warp, Affine):
        return warp.matrix.double().cpu()
    if isinstance(warp, Composed):
        first, then = matrix_of(warp.first), matrix_of(warp.then)
        return None if first is None or then is None else then @ first
    return None


def _each(matrices: Tensor, points: Tensor) -> Tensor:
    """Points ``(N, 3)``, each by its own matrix ``(N, 4, 4)``."""
    return (matrices[:, :3, :3] @ points[..., None])[..., 0] + matrices[:, :3, 3]

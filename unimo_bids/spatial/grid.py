"""Voxel grids in the world: the one convention for indices, millimetres and voxel centres.

Index ``(i, j, k)`` is the *centre* of a voxel; an affine ``(4, 4)`` takes indices to RAS mm. The
grid ends half a voxel beyond its first and last centre. Affines may be oblique, anisotropic,
flipped or sheared: nothing here takes them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unimo_bids.spatial.rigid import transform

Window = tuple[slice, slice, slice]


def voxel_sizes(affine: Tensor) -> Tensor:
    """Edge lengths of a voxel, mm, ``(3,)``."""
    return torch.linalg.norm(affine[:3, :3], dim=0)


def voxel_centers(shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Indices of all voxels, ``(X·Y·Z, 3)`` float64, last axis fastest (C order).

    Examples
    --------
    >>> voxel_centers((1, 2, 2)).int().tolist()
    [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]
    """
    axes = [torch.arange(n, dtype=torch.float64, device=device) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)


def world_points(shape: Sequence[int], affine: Tensor) -> Tensor:
    """World positions of all voxel centres, ``(X·Y·Z, 3)`` RAS mm."""
    return transform(affine, voxel_centers(shape, affine.device))


def smooth_fields(place: Tensor) -> Tensor:
    """First and second-order polynomials of a place ``(N, 3)``, ``(9, N)``: a receive field."""
    x, y, z = place.unbind(dim=-1)
    return torch.stack([x, y, z, x * x, y * y, z * z, x * y, y * z, z * x])


def index_map(affine_to: Tensor, pose: Tensor, affine_from: Tensor) -> Tensor:
    """Indices of one grid to indices of another through a pose: ``A_to⁻¹ T A_from``.

    In anisotropic voxels the result is an affine, not a rigid motion.
    """
    return torch.linalg.inv(affine_to) @ pose @ affine_from


def inside(indices: Tensor, shape: Sequence[int], margin: float = 0.0) -> Tensor:
    """Which indices ``(..., 3)`` lie within the grid's voxel centres, ``margin`` voxels in.

    An axis with a single voxel has no interior to measure: half a voxel either side is inside.
    """
    size = torch.tensor(shape, dtype=indices.dtype, device=indices.device)
    lower = torch.where(size > 1, torch.full_like(size, margin), torch.full_like(size, -0.5))
    upper = torch.where(size > 1, size - 1 - margin, torch.full_like(size, 0.5))
    return ((indices >= lower) & (indices <= upper)).all(dim=-1)


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxels and where they are in the world.

    Attributes
    ----------
    shape
        ``(X, Y, Z)``
    affine
        ``(4, 4)`` float64, indices → RAS mm, on the CPU.
    """

    shape: tuple[int, int, int]
    affine: Tensor

    @classmethod
    def of(cls, shape: Sequence[int], affine: Any) -> Grid:
        """From the shape of an image, whose first three axes are space, and any array."""
        x, y, z = (int(n) for n in shape[:3])
        return cls((x, y, z), torch.as_tensor(np.asarray(affine, dtype=np.float64)))

    @cached_property
    def sizes(self) -> Tensor:
        """Edge lengths of a voxel, ``(3,)`` mm."""
        return voxel_sizes(self.affine)

    @property
    def widest(self) -> float:
        """Longest edge of a voxel, mm."""
        return float(self.sizes.max())

    @property
    def cube(self) -> float:
        """Edge of a cube as large as a voxel, to hundredths of a mm."""
        return round((1000 * self.voxel_ml) ** (1 / 3), 2)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel, ml."""
        return float(torch.linalg.det(self.affine[:3, :3]).abs()) / 1000

    @cached_property
    def to_index(self) -> Tensor:
        """``(4, 4)`` RAS mm → indices."""
        return torch.linalg.inv(self.affine)

    def points(self, device: torch.device | str = "cpu") -> Tensor:
        """World positions of all voxel centres, ``(X·Y·Z, 3)`` float64 RAS mm."""
        return world_points(self.shape, self.affine.to(device))

    def corners(self) -> Tensor:
        """Centres of the eight outermost voxels, ``(8, 3)`` RAS mm."""
        ends = [torch.tensor([0.0, n - 1.0], dtype=torch.float64) for n in self.shape]
        return transform(self.affine, torch.cartesian_prod(*ends))

    def part(self, window: Window) -> Grid:
        """The grid of ``image[window]``."""
        bounds = [part.indices(n) for part, n in zip(window, self.shape, strict=True)]
        first = torch.eye(4, dtype=torch.float64)
        first[:3, 3] = torch.tensor([start for start, _, _ in bounds], dtype=torch.float64)
        x, y, z = (stop - start for start, stop, _ in bounds)
        return Grid((x, y, z), self.affine @ first)

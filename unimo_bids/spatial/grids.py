"""Voxel grids in the world: the one convention for indices, millimetres and voxel centres.

Index ``(i, j, k)`` is the *centre* of a voxel; an affine ``(4, 4)`` takes indices to RAS mm. The
grid ends half a voxel beyond its first and last centre. Affines may be oblique, anisotropic,
flipped or sheared: nothing here takes them apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unimo_bids.spatial.rigid import transform


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

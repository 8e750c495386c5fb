"""What displacements do to a shape: whether they fold it, and how much of them is rigid motion."""

from __future__ import annotations

import torch
from torch import Tensor

from unimo_bids.spatial import rigid
from unimo_bids.spatial.interpolation import gradient
from unimo_bids.spatial.warp import Field


def jacobian_determinant(field: Field) -> Tensor:
    """Volume of what was a unit, ``(X, Y, Z)``: 0 or less where space is folded."""
    slopes = gradient(field.displacement, field.grid.affine)  # (3, X, Y, Z, 3)
    jacobian = slopes.permute(1, 2, 3, 0, 4) + torch.eye(3).to(slopes)
    return torch.linalg.det(jacobian)


def rigid_part(points: Tensor, moved: Tensor, weights: Tensor) -> Tensor:
    """The pose ``(4, 4)`` that comes closest to what moved points ``(N, 3)`` (Procrustes)."""
    share = (weights / weights.sum())[:, None].to(points)
    a, b = (share * points).sum(dim=0), (share * moved).sum(dim=0)
    rotation = rigid.nearest_rotation((moved - b).mT @ (share * (points - a)))
    return rigid.from_rotation(rotation, b - rotation @ a)


def without_rigid(field: Field, weights: Tensor) -> tuple[Field, Tensor]:
    """The deformation alone, and the pose to be put after it: ``x + u(x) = P(x + u'(x))``.

    Parameters
    ----------
    weights
        ``(X, Y, Z)`` where the rigid part is to be none.
    """
    points = field.grid.points(weights.device)
    flat = weights.flatten().double()
    moved = points + field.displacement.flatten(1).mT.double()
    pose = rigid_part(points, moved, flat)
    left = rigid.transform(rigid.inverse(pose), moved) - points
    return Field(field.grid, left.mT.reshape(field.displacement.shape).float()), pose

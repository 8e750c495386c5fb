"""How far a frame was bent: what its distortion does to the brain beyond any motion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.deformation.epi import Distortion
from unimo_bids.deformation.shape import rigid_part
from unimo_bids.qc.columns import described
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid

_POINTS = 2000  # of the brain: the mean of more is the same


def points_inside(mask: NDArray[Any], affine: NDArray[np.float64]) -> Tensor:
    """Points of a mask ``(X, Y, Z)``, evenly chosen, ``(N, 3)`` RAS mm."""
    points = Grid.of(mask.shape, affine).points()[torch.from_numpy(mask > 0.5).flatten()]
    return points[:: max(1, len(points) // _POINTS)].double()


def bending(
    distortion: Distortion, poses: NDArray[np.float64] | Sequence[Tensor], points: Tensor
) -> dict[str, NDArray[np.float64]]:
    """Columns ``(T,)`` of the confounds; `describe_bending` explains them."""
    weights = torch.ones(len(points), dtype=torch.float64)
    mean, largest = [], []
    for pose in poses:
        moved = distortion.warp(torch.as_tensor(pose))(points).double()
        straight = rigid.transform(rigid_part(points, moved, weights), points)
        apart = (moved - straight).norm(dim=1)
        mean.append(float(apart.mean()))
        largest.append(float(apart.max()))
    return {"bending_mean": np.array(mean), "bending_max": np.array(largest)}


def describe_bending() -> dict[str, dict[str, Any]]:
    """Explain the columns, for their JSON sidecar."""
    of = "over the brain, of what distortion moved in the frame, relative to the reference, from"
    of += " where the closest rigid motion has it; undone in the corrected series."
    return {
        "bending_mean": described(f"Mean distance, {of}", "mm"),
        "bending_max": described(f"Largest distance, {of}", "mm"),
    }

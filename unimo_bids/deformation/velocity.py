"""Deformations from a velocity that stays: their exponential, by scaling and squaring.

``exp(v)`` moves every point along v for the time 1; ``exp(-v)`` is its inverse. A short time is a
small displacement, ``v / 2ⁿ``; n times twice as long is the displacement after itself,
``u ← u + u ∘ (1 + u)`` (Arsigny et al. 2006).
"""

from __future__ import annotations

from torch import Tensor

from unimo_bids.spatial.grid import Grid, voxel_centers
from unimo_bids.spatial.interpolation import sample_linear

SQUARINGS = 7


def exponential(velocity: Tensor, grid: Grid, *, squarings: int = SQUARINGS) -> Tensor:
    """Displacements ``(..., 3, X, Y, Z)``, RAS mm, of velocities at the voxels of a grid."""
    batch = velocity.reshape(-1, *velocity.shape[-4:])
    places = voxel_centers(grid.shape, velocity.device).to(velocity)
    to_index = grid.to_index[:3, :3].to(velocity)
    u = batch / 2**squarings
    for _ in range(squarings):
        indices = places + u.flatten(2).mT @ to_index.mT
        u = u + sample_linear(u, indices).reshape(u.shape)
    return u.reshape(velocity.shape)

"""The part of a grid that a moving head stays in: what lies beyond need not be looked at."""

from __future__ import annotations

import torch
from torch import Tensor

from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid


def box_of(shown: Tensor, grid: Grid, poses: Tensor, onto: Grid, rim: Tensor) -> list[slice]:
    """Of a grid, what shows a part of the reference at any of some poses, and a rim around that.

    Parameters
    ----------
    shown
        ``(X, Y, Z)`` bool, the part, on the reference's own grid.
    grid
        That grid.
    poses
        ``(N, 4, 4)``
    onto
        The grid that is asked about.
    rim
        ``(3,)`` voxels of it.
    """
    there = torch.nonzero(shown).double()
    ends = torch.stack([there.amin(dim=0), there.amax(dim=0)])
    corners = torch.cartesian_prod(*ends.T)
    at = rigid.transform(onto.to_index @ poses @ grid.affine, corners[None]).flatten(0, 1)
    last = torch.tensor(onto.shape) - 1
    low = (at.amin(dim=0) - rim).floor().long().clamp(min=0).minimum(last)
    high = (at.amax(dim=0) + rim).ceil().long().clamp(min=0).minimum(last)
    return [slice(a, b + 1) for a, b in zip(low.tolist(), high.tolist(), strict=True)]

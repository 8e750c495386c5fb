"""What the tests of geometry draw from: poses, affines, grids."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from hypothesis import strategies as st
from torch import Tensor

from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import world_points


def f64(values: Sequence[object]) -> Tensor:
    """Never through float32, as `torch.tensor([0.1]).double()` goes."""
    return torch.tensor(values, dtype=torch.float64)


def vectors(limit: float) -> st.SearchStrategy[Tensor]:
    number = st.floats(-limit, limit, allow_subnormal=False)
    return st.tuples(number, number, number).map(f64)


# a cube of half edge 1.8 lies within the ball of radius π: each rotation has one vector here
ROTATION_VECTORS = vectors(1.8)
PLACES = vectors(100.0)
POSES = st.builds(rigid.from_parameters, ROTATION_VECTORS, PLACES, PLACES)
POINTS = f64([[0, 0, 0], [60, -3, 20], [-41, 70, 8], [5, -80, -77]])


def affine(
    sizes: tuple[float, float, float] = (2.0, 2.0, 2.0),
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0),
    shear: float = 0.0,
) -> Tensor:
    """Columns of the given lengths (negative: flipped), turned, k leaning towards i by `shear`."""
    matrix = rigid.from_parameters(f64(turn), f64([-11.0, 7.0, 3.0]))
    linear = torch.diag(f64(sizes))
    linear[0, 2] = shear
    matrix[:3, :3] = matrix[:3, :3] @ linear
    return matrix


def middle(shape: Sequence[int], affine: Tensor) -> Tensor:
    """World position of the middle of a grid, ``(3,)`` mm."""
    return world_points(shape, affine).mean(dim=0)


AFFINES = {
    "isotropic": affine(),
    "anisotropic": affine((1.5, 2.0, 4.5)),
    "flipped": affine((-2.0, 2.5, 3.0)),  # negative determinant
    "oblique": affine((-2.0, 2.0, 4.0), (0.3, -0.5, 0.2)),
    "sheared": affine((2.0, -3.0, 2.5), (0.1, 0.4, -0.7), shear=0.8),
}

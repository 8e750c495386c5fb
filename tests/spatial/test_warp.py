"""Warps and their Jacobians."""

import pytest
import torch

from tests.phantom import f64, grid_affine, pose
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.warp import Affine, Composed, Field, Rigid, Warp, matrix_of

GRID = Grid((20, 22, 18), grid_affine(shape=(20, 22, 18)))


def bent(amount: float) -> Field:
    """A smooth field, ``amount`` mm at its most."""
    x, y, z = (GRID.points() / 15).T
    waves = torch.stack([torch.sin(y + z), torch.cos(x), torch.sin(x - y)])
    return Field(GRID, amount * waves.reshape(3, *GRID.shape))


STRETCH = Affine(torch.diag(f64([1.1, 0.9, 1.2, 1.0])))
WARPS = {
    "rigid": Rigid(pose((10, -20, 30), (5.0, 2.0, -1.0))),
    "affine": STRETCH,
    "field": bent(2.0),
    "both": Composed(bent(2.0), Rigid(pose((10, -20, 30), (1.0, 0.0, -1.0)))),
}


@pytest.mark.parametrize("warp", WARPS.values(), ids=WARPS)
def test_the_jacobian_is_that_of_small_steps(warp: Warp):
    points = 6 * torch.randn(40, 3, dtype=torch.float64, generator=torch.manual_seed(3))
    step = 1.5  # half a voxel: between voxels a field is linear, its slope is that of a spline
    columns = [
        (warp(points + step * axis) - warp(points - step * axis)) / (2 * step)
        for axis in torch.eye(3, dtype=torch.float64)
    ]
    steps = torch.stack(columns, dim=-1)
    torch.testing.assert_close(warp.jacobian(points), steps, rtol=0, atol=0.01)


def test_warps_are_composed_in_order():
    turn, shift = Rigid(pose((0, 0, 90), (0.0, 0.0, 0.0))), Rigid(pose((0, 0, 0), (1.0, 0.0, 0.0)))
    found = Composed(turn, shift)(f64([[1.0, 0.0, 0.0]]))
    torch.testing.assert_close(found, f64([[1.0, 1.0, 0.0]]), rtol=0, atol=1e-12)


def test_beyond_its_grid_a_field_goes_on_as_at_the_border():
    field = Field(GRID, torch.ones(3, *GRID.shape))
    torch.testing.assert_close(field(f64([[500.0, 0, 0]])), f64([[501.0, 1, 1]]))


def test_warps_that_do_not_bend_come_to_one_matrix():
    points = torch.randn(5, 3, dtype=torch.float64, generator=torch.manual_seed(2))
    both = Composed(STRETCH, WARPS["rigid"])
    matrix = matrix_of(both)
    torch.testing.assert_close(both(points), Affine(matrix)(points), rtol=0, atol=1e-12)
    assert matrix_of(WARPS["both"]) is None

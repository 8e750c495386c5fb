"""Warps and their Jacobians."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tests.phantom import f64, grid_affine, pose
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.warp import Affine, Composed, Field, Rigid, SliceWise, Warp, matrix_of

GRID = Grid((20, 22, 18), grid_affine(shape=(20, 22, 18)))


def bent(amount: float) -> Field:
    """A smooth field, ``amount`` mm at its most."""
    x, y, z = (GRID.points() / 15).T
    waves = torch.stack([torch.sin(y + z), torch.cos(x), torch.sin(x - y)])
    return Field(GRID, amount * waves.reshape(3, *GRID.shape))


def swaying(axis: int) -> SliceWise:
    """A head that turns by 12° and moves by 6 mm from the first slice to the last."""
    many = GRID.shape[axis]
    share = np.linspace(-0.5, 0.5, many)[:, None]
    poses = np.tile(np.eye(4), (many, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(np.radians(12) * share * [0.6, 0.0, 0.8]).as_matrix()
    poses[:, :3, 3] = share * [4.0, -2.0, 4.0]
    return SliceWise(GRID, axis, torch.from_numpy(poses))


STRETCH = Affine(torch.diag(f64([1.1, 0.9, 1.2, 1.0])))
WARPS = {
    "rigid": Rigid(pose((10, -20, 30), (5.0, 2.0, -1.0))),
    "affine": STRETCH,
    "field": bent(2.0),
    "slices": SliceWise(GRID, 1, pose((10, -20, 30), (5.0, 2.0, -1.0)).expand(22, 4, 4)),
    "slices after a field": Composed(
        bent(2.0), SliceWise(GRID, 0, pose((9, 5, -7), (2.0, 1.0, 0.0)).expand(20, 4, 4))
    ),
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


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_place_goes_with_the_slice_that_passes_it_most_closely(axis):
    warp = swaying(axis)
    points = (15 * torch.randn(300, 3, generator=torch.manual_seed(4))).double()
    to_index = np.linalg.inv(GRID.affine.numpy())
    ways = np.einsum("sij,nj->sni", warp.poses.numpy()[:, :3, :3], points.numpy())
    ways += warp.poses.numpy()[:, None, :3, 3]
    away = (ways @ to_index[:3, :3].T + to_index[:3, 3])[..., axis] - np.arange(len(ways))[:, None]
    nearest = np.abs(away).argmin(axis=0)
    first, second = np.partition(np.abs(away), 1, axis=0)[:2]
    clear = second - first > 0.1  # voxels: of two that are as near, either will do
    assert clear.mean() > 0.8
    np.testing.assert_array_equal(warp.nearest(points).numpy()[clear], nearest[clear])
    expected = ways[nearest, np.arange(300)]
    np.testing.assert_allclose(warp(points).numpy()[clear], expected[clear], atol=1e-9)
    turns = warp.poses.numpy()[nearest, :3, :3]
    np.testing.assert_allclose(warp.jacobian(points).numpy()[clear], turns[clear], atol=1e-12)


def test_what_a_slice_shows_goes_back_to_it():
    warp = swaying(2)
    voxels = torch.from_numpy(np.random.default_rng(0).integers(0, GRID.shape, (100, 3))).double()
    places = warp.shown(voxels)
    true = GRID.affine.numpy() @ np.c_[voxels.numpy(), np.ones(100)].T
    np.testing.assert_allclose(warp(places).numpy(), true[:3].T, atol=1e-9)
    np.testing.assert_allclose(warp.indices(places, voxels[:, 2].long()), voxels, atol=1e-9)


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

import pytest
import torch

from tests.phantom import (
    AFFINE,
    RADIUS,
    SHAPE,
    error_mm,
    f64,
    grid_affine,
    head_mask,
    random_poses,
    target_of,
    volume,
    volumes,
)
from unimo_bids.registration.gauss_newton import register
from unimo_bids.registration.levels import make_level
from unimo_bids.registration.search import in_all_rotations, rotation_grid, search_poses
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid

CENTER = f64([0.0, 0.0, 0.0])


def angles(a, b):
    """Degrees between all rotations of two sets, ``(A, B)``."""
    trace = torch.einsum("aij,bij->ab", a, b)
    return torch.rad2deg(torch.arccos(((trace - 1) / 2).clamp(-1, 1)))


@pytest.mark.parametrize(("count", "farthest"), [(576, 30.0), (4608, 15.0)])
def test_the_rotation_grid_covers_all_rotations(count, farthest):
    grid = rotation_grid(count)
    # a unit quaternion's rounding
    torch.testing.assert_close(
        grid @ grid.mT, torch.eye(3).double().expand_as(grid), rtol=0, atol=1e-14
    )
    nearest = angles(rigid.random_rotations(2000, torch.Generator().manual_seed(0)), grid)
    # N balls of angle ρ fill SO(3), volume 8π² with balls of 8π (ρ - sin ρ), when ρ = 16.1° for
    # 576: a covering needs ρ ~ N^(-1/3), and a good one not twice that
    assert float(nearest.amin(dim=1).max()) < farthest


@pytest.fixture(scope="module")
def found_at():
    """Search for heads in nothing, on a grid."""

    def search(poses, affine=AFFINE, shape=SHAPE, **options):
        grid = {"affine": affine, "shape": shape}
        level = make_level(Grid(shape, affine), blur=3.0, spacing=3.6)
        still, weights = volume(torch.eye(4).double(), **grid), head_mask(**grid, grown=1.1)
        images = level.image(volumes(poses, **grid))
        head = in_all_rotations(
            level.image(still),
            level.image(weights).clamp(0, 1),
            level,
            center=CENTER,
            radius=RADIUS,
            **options,
        )
        starts = search_poses(head, images)
        return starts, target_of(level, still[None], weights), images

    return search


@pytest.mark.parametrize(
    ("affine", "shape"),
    [
        (AFFINE, SHAPE),
        (grid_affine((-2.5, 3.0, 4.0), (0.3, -0.5, 0.2), (44, 38, 28)), (44, 38, 28)),
    ],
    ids=["plain", "oblique, flipped, anisotropic"],
)
def test_a_head_turned_by_170_degrees_is_found(found_at, affine, shape):
    poses = random_poses(3, degrees=170, shift=12)
    starts, target, images = found_at(poses, affine, shape)
    many = starts.shape[1]
    # rotations are nowhere more than 30° apart; places are a fifth of the radius apart, and the
    # best one is a neighbour of the right one
    angle = rigid.rotation_angle(starts, poses[:, None])
    assert bool((angle.amin(dim=1) < 30).all())
    place = torch.linalg.norm(starts[..., :3, 3] - poses[:, None, :3, 3], dim=-1)
    nearest = place.gather(1, angle.argmin(dim=1, keepdim=True))
    assert float(nearest.max()) < 1.5 * RADIUS / 5
    # candidates are different rotations, and the right one wins when all are refined
    for row in starts:
        apart = angles(row[:, :3, :3], row[:, :3, :3]) + 180 * torch.eye(many)
        assert float(apart.min()) > 24.9
    refined = register(
        target, images.repeat_interleave(many, dim=0)[:, None], starts.reshape(-1, 4, 4)
    )
    best = refined.similarity.reshape(-1, many).argmax(dim=1) + many * torch.arange(3)
    # linear interpolation at a coarse level: a twentieth of its samples' distance
    assert float(error_mm(refined.poses[best], poses).max()) < 0.05 * 4


def test_frames_are_searched_alone(found_at):
    poses = random_poses(2, degrees=100, shift=5, seed=3)
    together = found_at(poses, rotations=96)
    for k in range(2):
        assert torch.equal(found_at(poses[k : k + 1], rotations=96)[0][0], together[0][k])

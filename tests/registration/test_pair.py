"""Two volumes on grids of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests import phantom
from unimo_bids.registration.gauss_newton import Registration
from unimo_bids.registration.pair import _score, register_volumes
from unimo_bids.registration.sides import make_side
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import world_points

FINE = (44, 48, 42)
_GRIDS = [
    (phantom.AFFINE, phantom.SHAPE),
    (phantom.grid_affine((2.5, 2.5, 2.5), (0.2, -0.1, 0.4), FINE), FINE),
    (phantom.grid_affine((-2.5, 2.5, 3.0), (0.0, 0.3, 0.0), FINE), FINE),  # stored left to right
]


REST = phantom.volume(phantom.rest(1)[0])
MASK = phantom.head_mask().numpy()


def _registered(moving: torch.Tensor, grid: int = 0, fixed: torch.Tensor = REST, **options):
    """Register a volume on one of the grids to one on the plain grid, without the network."""
    affine = _GRIDS[grid][0].numpy()
    options = {"network": False} | options
    return register_volumes(
        fixed.numpy(), phantom.AFFINE.numpy(), moving.numpy(), affine, **options
    )


def _off(found: np.ndarray, pose: torch.Tensor) -> float:
    return float(phantom.error_mm(torch.from_numpy(found)[None], pose[None]))


@pytest.mark.parametrize("grid", [1, 2])  # on the same one, below
def test_pose_is_found_on_another_grid(grid):
    pose = phantom.pose((12, -8, 20), (5, -4, 3))
    found = _registered(phantom.volume(pose, *_GRIDS[grid]), grid)
    assert _off(found.pose, pose) < 0.05
    assert found.similarity > 0.99


@pytest.mark.parametrize("seed", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_any_rotation_is_found_and_not_doubted(seed):
    pose = phantom.random_poses(1, 150, 10, seed)[0]
    found = _registered(phantom.volume(pose))
    assert _off(found.pose, pose) < 0.05
    assert found.doubts == () and (seed or found.start == "search")
    # ellipsoids are much alike when they are turned over
    assert found.runner_up is not None and found.runner_up < 0.9 * found.similarity
    assert np.allclose(found.center, 0, atol=3)  # what the parts weigh is not quite in the middle


def test_another_contrast_is_explained_by_tissues():
    pose = phantom.pose((10, 5, -15), (4, 6, -2))
    # what was in the middle is dark now
    found = _registered((phantom.volume(pose, *_GRIDS[1]) - 70).abs(), 1)
    assert _off(found.pose, pose) < 0.3


def test_masks_say_what_moves():
    pose = phantom.pose((15, 0, 10), (8, 0, -6))
    fixed, moving = REST.clone(), phantom.volume(pose)
    for volume in (fixed, moving):
        volume[:3] = 150.0  # a body that stays where it is
    mask = phantom.head_mask(grown=1.05).numpy()
    assert _off(_registered(moving, fixed=fixed, fixed_mask=mask).pose, pose) < 0.05


def test_nothing_to_register_is_refused():
    with pytest.raises(ValueError, match="empty or constant"):
        _registered(torch.zeros_like(REST))
    with pytest.raises(ValueError, match="nothing to do"):
        _registered(REST, refine=False)


def _lit(volume: torch.Tensor) -> torch.Tensor:
    """As a coil beside the head sees it."""
    away = world_points(tuple(volume.shape), phantom.AFFINE) - torch.tensor([60.0, 20.0, 0.0])
    return volume * torch.exp(-away.norm(dim=-1) / 60).reshape(volume.shape)


def test_a_coil_that_lies_still_does_not_hold_another_contrast_back():
    pose = phantom.pose((0, 60, 30), (3, -2, 4))
    moving = _lit((phantom.volume(pose) - 70).abs())
    found = _registered(moving, fixed=_lit(REST), fixed_mask=MASK)
    assert _off(found.pose, pose) < 1.5  # 5 mm by the intensities as they are


def test_masks_of_both_have_to_meet():
    a, b = (make_side(REST.numpy(), phantom.AFFINE.numpy(), MASK, "cpu") for _ in range(2))
    poses = torch.stack([phantom.rest(1)[0], phantom.pose((0, 0, 0), (40, 0, 0))])
    both = Registration(poses, torch.zeros(2, 6, 6), torch.ones(2), torch.ones(2))
    met, missed = _score(both, a, b).tolist()
    assert met == pytest.approx(1)
    assert missed < 0.7


def test_another_thing_is_doubted():
    generator = torch.Generator().manual_seed(1)
    lumps = torch.randn(1, 1, 9, 10, 8, generator=generator)
    other = torch.nn.functional.interpolate(lumps, phantom.SHAPE, mode="trilinear")[0, 0]
    other = (100 + 40 * other) * phantom.head_mask()
    assert _registered(other, fixed_mask=MASK, moving_mask=MASK).doubts


@pytest.mark.parametrize("grid", [0, 2])
def test_a_mirror_image_is_doubted_whichever_way_it_is_stored(grid):
    moving = phantom.volume(phantom.pose((12, -8, 20), (5, -4, 3)), *_GRIDS[grid])
    assert _registered(moving, grid, network=True).doubts == ()
    for axis in (0, 1):
        (doubt,) = _registered(moving.flip(axis), grid, network=True).doubts
        assert "left and right exchanged" in doubt


def test_a_body_is_doubted_unless_a_mask_says_what_moves():
    affine = phantom.AFFINE.clone()
    affine[:3] *= 4  # 130 mm in radius
    body = REST.numpy(), affine.numpy()
    assert "larger than a head" in register_volumes(*body, *body, network=False).doubts[0]
    assert register_volumes(*body, *body, fixed_mask=MASK, network=False).doubts == ()


@pytest.mark.slow
def test_intervals_hold_where_the_other_contrast_is_smooth_stains():
    """Correlated residuals: a covariance that counts points would be far too small."""
    pose, held = phantom.pose((6, -4, 8), (2, -1, 3)), []
    points = world_points(phantom.SHAPE, phantom.AFFINE)
    for seed in range(4):
        random = torch.Generator().manual_seed(seed)
        k = torch.randn(40, 3, generator=random).double() / 6
        phase = 6.3 * torch.rand(40, 1, generator=random)
        stains = 6 * torch.cos(k @ points.mT + phase).sum(dim=0).reshape(phantom.SHAPE) / 20**0.5
        stained = phantom.volume(pose) + stains * phantom.head_mask(grown=1.3)
        found = _registered(stained, fixed_mask=MASK)
        back = torch.linalg.inv(torch.from_numpy(found.pose)) @ pose
        off = torch.cat(rigid.to_parameters(back, torch.from_numpy(found.center))).numpy()
        held.append(np.abs(off) < 1.96 * found.covariance.diagonal() ** 0.5)
    assert np.mean(held) > 0.85  # 24 numbers: three may be outside

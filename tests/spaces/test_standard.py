"""From a run to a template, at any orientation."""

import numpy as np
import pytest
import torch

from tests import phantom
from tests.spaces import heads
from unimo_bids.spaces.standard import find_space, upright, upright_grid
from unimo_bids.spatial import rigid

TEMPLATE = heads.seen(torch.eye(4).double())


@pytest.mark.slow
def test_a_head_upside_down_in_another_contrast_is_found_and_set_upright():
    truth = phantom.pose((170, 10, -60), (6.0, -4.0, 9.0)) @ heads.STRETCH
    run = heads.seen(truth, (1.3, -0.8, 0.4))
    found = find_space(TEMPLATE, run)
    points = torch.cat([TEMPLATE.center + 30 * torch.eye(3), TEMPLATE.center[None]]).double()
    apart = rigid.displacement(torch.from_numpy(found.matrix), truth, points)
    assert apart.max() < 1.5  # half a voxel
    assert found.doubts == () and found.overlap > 0.95
    # no stretches are left, and the whole brain is in view along the template's axes
    turn = upright(found, run.center)
    np.testing.assert_allclose(turn.stretches, 1, atol=1e-9)
    onto = upright_grid(turn, run)
    inside = rigid.transform(
        run.grid.affine, torch.from_numpy(np.argwhere(run.mask > 0.5)).double()
    )
    index = rigid.transform(onto.to_index @ torch.linalg.inv(torch.from_numpy(turn.matrix)), inside)
    assert (index > 0).all() and (index < torch.tensor(onto.shape) - 1).all()


@pytest.mark.slow
def test_what_is_no_such_head_is_doubted():
    ball = torch.linalg.norm(heads.grid().points(), dim=-1).reshape(heads.SHAPE) < 35
    noise = np.random.default_rng(0).normal(1, 0.2, heads.SHAPE).astype(np.float32)
    run = type(TEMPLATE)(noise * ball.numpy(), ball.float().numpy(), heads.grid())
    assert find_space(TEMPLATE, run).doubts

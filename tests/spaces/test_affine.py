"""The affine between two heads, by what they share."""

import torch

from tests import phantom
from tests.spaces import heads
from unimo_bids.registration.sides import make_side
from unimo_bids.spaces.affine import COARSE, FINE, TwoHeads, fit_affine
from unimo_bids.spatial import rigid

TRUTH = phantom.pose((4, -6, 8), (3.0, -2.0, 4.0)) @ heads.STRETCH
OTHER_CONTRAST = (1.3, -0.8, 0.4)


def sides():
    return [
        make_side(head.image, head.grid.affine.numpy(), head.mask, "cpu")
        for head in (heads.seen(torch.eye(4).double()), heads.seen(TRUTH, OTHER_CONTRAST))
    ]


def test_the_slope_is_that_of_small_steps():
    heads = TwoHeads(*sides(), FINE)
    _, slope = heads.shared(torch.eye(4, dtype=torch.float64))
    step = 0.02  # mm
    for number in torch.eye(12).double():
        ahead, back = (heads.small(sign * step * number) for sign in (1, -1))
        moved = rigid.transform(ahead, heads.points) - rigid.transform(back, heads.points)
        by_steps = heads.shared(ahead)[0] - heads.shared(back)[0]
        # splines' slopes are not those of linear interpolation: of up to 0.12 nats per mm, 2 %
        assert abs(float((slope * moved).sum()) - by_steps) < 0.003 * 2 * step


def test_another_contrast_and_stretches_are_found():
    fixed, moving = sides()
    moving = moving.evened()
    coarse = fit_affine(fixed, moving, torch.eye(4), COARSE)
    found = fit_affine(fixed, moving, coarse.matrix, FINE)
    apart = rigid.displacement(found.matrix, TRUTH, fixed.head.surface()).max()
    # two thirds of a voxel, 1.25 and 1.51 by processor; the start is off by 12 mm
    assert apart < 2.0
    size = torch.linalg.det(found.matrix[:3, :3] @ torch.linalg.inv(TRUTH[:3, :3])) ** (1 / 3)
    assert abs(float(size) - 1) < 0.01  # 0.994 to 1.009 in four contrasts

"""What an affine leaves is bent, where it holds."""

import numpy as np
import pytest
import torch

from tests import phantom
from tests.spaces import heads
from unimo_bids.registration.sides import make_side
from unimo_bids.spaces.deformation import find_deformation
from unimo_bids.spaces.standard import Head
from unimo_bids.spaces.thresholds import BENDING

TRUTH = phantom.pose((20, -30, 40), (6.0, -4.0, 9.0)) @ heads.STRETCH


def bulge(points: torch.Tensor, height: float) -> torch.Tensor:
    near = torch.exp(-(points - phantom.f64([8.0, 10, 5])).square().sum(dim=1) / (2 * 18.0**2))
    return points + height * near[:, None] * phantom.f64([0.6, -0.6, 0.5])


def side(head: Head):
    return make_side(head.image, head.grid.affine.numpy(), head.mask, "cpu")


def sides(height: float):
    """The template's head, and in another contrast that of a run whose shape differs by mm."""
    where = heads.grid()
    points = bulge(where.points(), height)
    image, mask = phantom.head(points), phantom.head(points) > 30
    template = Head(*(part.reshape(heads.SHAPE).float().numpy() for part in (image, mask)), where)
    run = heads.seen(TRUTH, (1.0, 0.7, 1.4))
    noisy = np.random.default_rng(0).normal(run.image, 3.0 * run.mask).astype(np.float32)
    return side(template), side(Head(noisy, run.mask, where)).evened()


@pytest.mark.slow
def test_a_bulge_is_found_and_taken():
    template, run = sides(6.0)
    found = find_deformation(template, run, TRUTH)
    assert found.field is not None and found.gain > 2 * found.error
    assert BENDING.squeezed <= found.volumes[0] < 1 < found.volumes[1] <= BENDING.stretched
    points = template.grid.points()[(template.mask > 0.5).flatten()]
    before = torch.linalg.norm(bulge(points, 6.0) - points, dim=1).mean()
    after = torch.linalg.norm(bulge(points, 6.0) - found.field(points), dim=1).mean()
    assert after < 0.7 * before  # the phantom is flat in wide parts, where nothing tells
    # nothing is bent at the border of the field, where it ends for ITK
    corners = found.field.grid.corners()
    torch.testing.assert_close(found.field(corners), corners, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_where_shapes_agree_nothing_is_bent():
    template, run = sides(0.0)
    found = find_deformation(template, run, TRUTH)
    assert found.field is None and found.volumes is None

import pytest
import torch
from torch import Tensor

from tests import phantom
from unimo_bids.deformation.lddmm import Metric
from unimo_bids.deformation.matching import Flow, displacement, register
from unimo_bids.deformation.modes import box_around
from unimo_bids.deformation.shape import jacobian_determinant
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.warp import Field

SHAPE = (22, 24, 18)
GRID = Grid.of(SHAPE, phantom.grid_affine((5.0, 5.0, 5.0), shape=SHAPE))


def bump(points: Tensor) -> Tensor:
    """A bulge, no sum of few waves."""
    height = torch.exp(-(points - phantom.f64([8.0, 10, 5])).square().sum(dim=1) / (2 * 18.0**2))
    return 6.0 * height[:, None] * phantom.f64([0.6, -0.6, 0.5])


@pytest.mark.parametrize("flow", ["svf", "lddmm"])
def test_a_bulge_in_another_contrast_is_found(flow: Flow) -> None:
    points = GRID.points()
    moving = phantom.head(points).reshape(SHAPE).float()
    fixed = phantom.head(points + bump(points), gains=(1.0, 0.7, 1.4)).reshape(SHAPE).float()
    mask = phantom.head_mask(GRID.affine, SHAPE)
    modes = box_around(GRID, samples=7)
    metric = Metric(length=10.0)
    velocity = register(
        fixed, moving, GRID, modes, weights=mask, metric=metric, iterations=4, flow=flow
    )
    found = displacement(velocity, modes, GRID, metric, flow)
    true = bump(points).mT.reshape(3, *SHAPE)
    inside = mask > 0
    before = true.norm(dim=0)[inside]
    after = (found - true).norm(dim=0)[inside]
    assert float(before.mean()) > 1.0
    # the phantom is flat in wide parts, where nothing tells
    assert float(after.mean()) < 0.6 * float(before.mean())
    assert float(jacobian_determinant(Field(GRID, found)).min()) > 0.3


def test_the_same_image_stays_where_it_is() -> None:
    image = phantom.head(GRID.points()).reshape(SHAPE).float()
    modes = box_around(GRID, samples=5)
    velocity = register(image, image, GRID, modes, iterations=3)
    assert float(velocity.abs().max()) < 0.05


def test_from_a_good_start_no_step_leads_away() -> None:
    points = GRID.points()
    moving = phantom.head(points).reshape(SHAPE).float()
    fixed = phantom.head(points + bump(points)).reshape(SHAPE).float()
    modes = box_around(GRID, samples=7)
    first = register(fixed, moving, GRID, modes, iterations=4)
    assert torch.equal(register(fixed, moving, GRID, modes, iterations=0, start=first), first)
    true = bump(points).mT.reshape(3, *SHAPE)
    inside = phantom.head_mask(GRID.affine, SHAPE) > 0
    off = [
        float((displacement(v, modes, GRID) - true).norm(dim=0)[inside].mean())
        for v in (first, register(fixed, moving, GRID, modes, iterations=1, start=first))
    ]
    assert off[1] < 1.1 * off[0]

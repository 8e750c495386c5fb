"""The network of deformations: what its construction promises whatever the weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests import phantom
from unimo_bids.deformation.matching import displacement, register
from unimo_bids.networks.deformation import (
    SAMPLES,
    DeformationNetwork,
    Window,
    prepared,
    shipped_network,
)
from unimo_bids.networks.weights import FOLDER
from unimo_bids.spatial.grid import Grid

SHAPE = (30, 32, 28)
# flipped, and turned from the world's axes: velocities are the world's all the same
GRID = Grid.of(SHAPE, phantom.grid_affine((-4.0, 4.0, 4.0), (0.2, -0.1, 0.3), SHAPE))


def bump(points: Tensor) -> Tensor:
    height = torch.exp(-(points - phantom.f64([8.0, 10, 5])).square().sum(dim=1) / (2 * 15.0**2))
    return 5.0 * height[:, None] * phantom.f64([0.6, -0.6, 0.5])


@pytest.fixture(scope="module")
def untrained() -> DeformationNetwork:
    torch.manual_seed(0)
    network = DeformationNetwork().eval()
    torch.nn.init.normal_(network.head.weight)
    return network


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fixed, moving, mask, and the displacement between them."""
    points = GRID.points()
    moving = phantom.head(points).reshape(SHAPE).float()
    fixed = phantom.head(points + bump(points)).reshape(SHAPE).float()
    mask = phantom.head_mask(GRID.affine, SHAPE)
    return fixed, moving, mask, bump(points).mT.reshape(3, *SHAPE).float()


def test_the_other_order_has_the_inverse_and_equal_volumes_have_none(untrained, pair):
    fixed, moving, mask, _ = pair
    window = Window.about(GRID, mask)
    masks = torch.stack([mask, mask.roll(1, 0)])
    there = untrained.velocity(fixed, moving, window, masks)
    assert there.shape == (3, SAMPLES, SAMPLES, SAMPLES)
    assert there.dtype == torch.float32
    assert float(there.abs().max()) > 0.1
    back = untrained.velocity(moving, fixed, window, masks.flip(0))
    assert float((there + back).abs().max()) < 1e-4 * float(there.abs().max())
    assert float(untrained.velocity(fixed, fixed, window).abs().max()) == 0


def test_brightness_and_a_receive_field_hardly_matter(pair):
    fixed, moving, mask, _ = pair
    window = Window.about(GRID, mask)
    field = torch.exp(GRID.points() @ phantom.f64([0.004, -0.003, 0.002])).reshape(SHAPE).float()
    network = shipped_network()
    plain = network.velocity(fixed, moving, window)
    other = network.velocity(fixed, 3 * field * moving, window)
    assert float((other - plain).norm() / plain.norm()) < 0.35


def test_the_shipped_weights_find_a_bulge_on_any_axes_and_are_a_good_start(pair):
    fixed, moving, mask, true = pair
    window = Window.about(GRID, mask)
    begun = shipped_network().velocity(fixed, moving, window, torch.stack([mask, mask]))
    zero = torch.zeros_like(begun)
    inside = mask > 0

    def off(velocity: Tensor) -> float:
        found = displacement(velocity, window.modes, GRID)
        return float((found - true).norm(dim=0)[inside].mean())

    assert off(begun) < 0.85 * off(zero)
    refined = [
        off(register(fixed, moving, GRID, window.modes, weights=mask, iterations=2, start=start))
        for start in (begun, zero)
    ]
    assert refined[0] <= 1.05 * refined[1]


def test_a_window_reads_what_is_inside_it(pair):
    _, _, mask, _ = pair
    window = Window.about(GRID, mask)
    inside = window.read(torch.ones(SHAPE))
    volume = float((window.read(mask) * inside).sum()) * window.box.spacing**3
    assert volume == pytest.approx(float(mask.sum()) * 4.0**3, rel=0.02)
    # a constant field, along the grid's own axes, is as long in the world
    found = torch.zeros(3, SAMPLES, SAMPLES, SAMPLES)
    found[0] = 1
    world = window.velocity(found)[:, 0, 0, 0]
    assert float(world.norm()) == pytest.approx(window.box.spacing, rel=1e-5)
    direction = GRID.affine[:3, 0] / GRID.sizes[0]
    assert torch.allclose(world / world.norm(), direction.float(), atol=1e-5)


def test_weights_are_small():
    assert (FOLDER / "deform.safetensors").stat().st_size < 3_000_000


def test_pairs_without_anything_to_see_are_finite(untrained):
    images = torch.zeros(1, 2, 60, 60, 60)
    found = untrained(prepared(images, None))
    assert bool((found == 0).all())

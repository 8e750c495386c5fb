"""The network's poses, carried to the world."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from tests import phantom
from unimo_bids.networks.pose import PoseNetwork
from unimo_bids.registration import pose_finder as unimo
from unimo_bids.registration.pose_finder import PoseFinder
from unimo_bids.spatial.grid import Grid


@pytest.fixture(scope="module")
def finder() -> PoseFinder:
    torch.manual_seed(0)
    return PoseFinder(phantom.RADIUS, network=PoseNetwork().eval())


@pytest.fixture(scope="module")
def scan() -> tuple[torch.Tensor, torch.Tensor]:
    rest = phantom.rest(1)[0]
    return phantom.volume(rest), phantom.head_mask()


@pytest.fixture(autouse=True)
def exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half precision would round by a few hundredths of a millimetre."""
    monkeypatch.setattr(unimo, "quick_arithmetic", lambda _device: nullcontext())


AFFINE = phantom.AFFINE.numpy()
GRID = phantom.GRID


def test_a_volume_that_was_carried_elsewhere_is_found_there(finder, scan):
    volume, mask = scan
    pose = phantom.pose((20, -10, 15), (30, -12, 7))
    fixed = finder.look(volume, GRID, mask)
    moving = finder.look(volume, Grid(phantom.SHAPE, pose @ phantom.AFFINE), mask)
    found, confidence = finder.pose(fixed, moving)
    assert float(phantom.error_mm(found[None], pose[None])) < 1e-2
    assert 0 <= confidence <= 1


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("flipped", [(0,), (0, 1), (2,)])
def test_how_voxels_are_stored_does_not_matter(finder, scan, flipped, masked):
    volume, mask = scan
    center = torch.zeros(3, dtype=torch.float64)
    back = np.eye(4)
    for axis in flipped:
        back[axis, axis], back[axis, 3] = -1, volume.shape[axis] - 1
    swap = np.eye(4)[[1, 0, 2, 3]]
    stored = volume.flip(flipped).transpose(0, 1)
    stored_mask = mask.flip(flipped).transpose(0, 1)
    fixed = finder.look(volume, GRID, mask if masked else None, center)
    moving = finder.look(
        stored, Grid.of(stored.shape, AFFINE @ back @ swap), stored_mask if masked else None, center
    )
    found, _ = finder.pose(fixed, moving)
    assert float(phantom.error_mm(found[None], phantom.rest(1))) < 1e-2


def test_a_quarter_turn_of_the_head_is_found(finder, scan):
    volume, mask = scan
    turn = phantom.pose((0, 0, 90), (0, 0, 0))
    turned, turned_mask = (part.permute(1, 0, 2).flip(0) for part in (volume, mask))
    affine = phantom.grid_affine(shape=tuple(turned.shape)).numpy()
    fixed = finder.look(volume, GRID, mask)
    found, _ = finder.pose(fixed, finder.look(turned, Grid.of(turned.shape, affine), turned_mask))
    assert float(phantom.error_mm(found[None], turn[None])) < 0.5

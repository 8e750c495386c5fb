"""From the networks' answers to one brain: with networks whose answers are known.

The stand-ins call bright what is bright; what is tested is everything around them.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unimo_bids.brain.network import BrainNetworks, follow_brain, normalised, segment_brain

SIZES = (3.0, 3.0, 4.5)


class _Bright(nn.Module):
    multiple = 8

    def forward(self, image: Tensor) -> Tensor:
        return 40 * (image - 0.5)


@pytest.fixture
def bright() -> BrainNetworks:
    """Networks that find whatever is bright."""
    trained = BrainNetworks().eval()
    trained.find, trained.segment = _Bright(), _Bright()  # type: ignore[assignment]
    return trained


def _volume(*balls: tuple[tuple[float, float, float], float]) -> Tensor:
    """Bright balls, centre and radius in mm, in the dark, ``(100, 90, 40)`` voxels."""
    axes = np.meshgrid(
        *(s * np.arange(n) for s, n in zip(SIZES, (100, 90, 40), strict=True)), indexing="ij"
    )
    volume = np.zeros(axes[0].shape, dtype=np.float32)
    for center, radius in balls:
        squared = sum((a - c) ** 2 for a, c in zip(axes, center, strict=True))
        volume[squared < radius**2] = 1000
    return torch.from_numpy(volume)


def _center(probability: np.ndarray) -> np.ndarray:
    return np.argwhere(probability > 0.5).mean(axis=0) * SIZES


def test_the_brain_is_outlined_where_it_is(bright: BrainNetworks) -> None:
    volume = _volume(((220, 60, 100), 35))
    found = segment_brain(volume, SIZES, bright)
    inside = found.probability > 0.5
    assert found.rivals == 0
    assert np.abs(_center(found.probability) - (220, 60, 100)).max() < 1.5
    dice = 2 * (inside & (volume.numpy() > 0)).sum() / (inside.sum() + (volume > 0).sum().item())
    assert dice > 0.93


def test_the_larger_of_two_is_taken_and_the_other_told_of(bright: BrainNetworks) -> None:
    found = segment_brain(_volume(((60, 60, 90), 30), ((200, 180, 90), 36)), SIZES, bright)
    assert found.rivals == 1
    assert np.abs(_center(found.probability) - (200, 180, 90)).max() < 1.5


def test_a_speck_is_no_brain(bright: BrainNetworks) -> None:
    found = segment_brain(_volume(((60, 60, 90), 8)), SIZES, bright)
    assert found.probability.max() == 0


def test_what_is_enclosed_belongs_to_the_brain(bright: BrainNetworks) -> None:
    volume = _volume(((150, 120, 90), 40))
    hollow = torch.where(_volume(((150, 120, 90), 15)) > 0, torch.zeros(()), volume)
    found = segment_brain(hollow, SIZES, bright)
    assert found.probability[50, 40, 20] > 0.5


def test_following_goes_after_a_brain_that_left_its_place(bright: BrainNetworks) -> None:
    volume = _volume(((190, 120, 90), 35))
    found = follow_brain(volume, SIZES, bright, (150, 120, 90), 120)
    assert np.abs(_center(found.probability) - (190, 120, 90)).max() < 1.5
    nowhere = follow_brain(torch.zeros_like(volume), SIZES, bright, (130, 120, 90), 120)
    assert nowhere.probability.max() == 0


def test_no_unit_and_no_scale_matters() -> None:
    image = torch.rand(20, 20, 20)
    assert torch.allclose(normalised(image), normalised(5000 * image), atol=1e-5)
    assert torch.isfinite(normalised(torch.zeros(5, 5, 5))).all()
    spiked = image.clone()
    spiked[0, 0, 0] = 1e6
    assert normalised(spiked).max() < 1.5

"""From the networks' answers to one brain: with networks whose answers are known.

The stand-ins call bright what is bright; what is tested is everything around them.
"""

from __future__ import annotations

import numpy as np
import torch

from tests.brain.bright import SIZES, volume_of
from unimo_bids.brain.finding import follow_brain, segment_brain
from unimo_bids.brain.network import BrainNetworks, normalised


def _center(probability: np.ndarray) -> np.ndarray:
    return np.argwhere(probability > 0.5).mean(axis=0) * SIZES


def test_the_brain_is_outlined_where_it_is(bright: BrainNetworks) -> None:
    volume = volume_of(((220, 60, 100), 35))
    found = segment_brain(volume, SIZES, bright)
    inside = found.probability > 0.5
    assert found.rivals == 0
    assert np.abs(_center(found.probability) - (220, 60, 100)).max() < 1.5
    dice = 2 * (inside & (volume.numpy() > 0)).sum() / (inside.sum() + (volume > 0).sum().item())
    assert dice > 0.93


def test_one_of_two_is_taken_and_the_other_told_of(bright: BrainNetworks) -> None:
    places = np.array([(60, 60, 90), (200, 180, 90)])
    found = segment_brain(volume_of(*((tuple(place), 34) for place in places)), SIZES, bright)
    assert found.rivals == 1
    assert np.abs(_center(found.probability) - places).max(axis=1).min() < 1.5


def test_what_no_brain_of_the_population_has_is_not_taken_if_there_is_another(
    bright: BrainNetworks,
) -> None:
    volume = volume_of(((60, 60, 90), 24), ((190, 160, 90), 55))
    for volumes, center in (((20, 100), (60, 60, 90)), ((400, 900), (190, 160, 90))):
        found = segment_brain(volume, SIZES, bright, volumes)
        assert np.abs(_center(found.probability) - center).max() < 2


def test_a_speck_is_no_brain(bright: BrainNetworks) -> None:
    found = segment_brain(volume_of(((60, 60, 90), 8)), SIZES, bright)
    assert found.probability.max() == 0


def test_what_is_enclosed_belongs_to_the_brain(bright: BrainNetworks) -> None:
    volume = volume_of(((150, 120, 90), 40))
    hollow = torch.where(volume_of(((150, 120, 90), 15)) > 0, torch.zeros(()), volume)
    found = segment_brain(hollow, SIZES, bright)
    assert found.probability[50, 40, 20] > 0.5


def test_following_goes_after_a_brain_that_left_its_place(bright: BrainNetworks) -> None:
    volume = volume_of(((190, 120, 90), 35))
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

"""From the networks' answers to one brain: with networks whose answers are known.

The stand-ins call bright what is bright; what is tested is everything around them.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.brain.bright import SIZES, Recogniser, volume_of
from unimo_bids.brain.segmentation import (
    all_outlines,
    follow_brain,
    segment_brain,
)


def _center(probability: np.ndarray) -> np.ndarray:
    return np.argwhere(probability > 0.5).mean(axis=0) * SIZES


def test_the_brain_is_outlined_where_it_is(bright):
    volume = volume_of(((220, 60, 100), 35))
    found = segment_brain(volume, SIZES, bright)
    inside = found.probability > 0.5
    assert found.rivals == 0
    assert np.abs(_center(found.probability) - (220, 60, 100)).max() < 1.5
    dice = 2 * (inside & (volume.numpy() > 0)).sum() / (inside.sum() + (volume > 0).sum().item())
    assert dice > 0.93


def test_what_no_brain_of_the_population_has_is_not_taken_if_there_is_another(bright):
    volume = volume_of(((60, 60, 90), 24), ((190, 160, 90), 55))
    for volumes, center in (((20, 100), (60, 60, 90)), ((400, 900), (190, 160, 90))):
        found = segment_brain(volume, SIZES, bright, volumes)
        assert np.abs(_center(found.probability) - center).max() < 2


def test_what_is_enclosed_belongs_to_the_brain(bright):
    volume = volume_of(((150, 120, 90), 40))
    hollow = torch.where(volume_of(((150, 120, 90), 15)) > 0, torch.zeros(()), volume)
    found = segment_brain(hollow, SIZES, bright)
    assert found.probability[50, 40, 20] > 0.5


def test_following_goes_after_a_brain_that_left_its_place(bright):
    volume = volume_of(((190, 120, 90), 35))
    found = follow_brain(volume, SIZES, bright, (150, 120, 90), 120)
    assert np.abs(_center(found.probability) - (190, 120, 90)).max() < 1.5
    nowhere = follow_brain(torch.zeros_like(volume), SIZES, bright, (130, 120, 90), 120)
    assert nowhere.probability.max() == 0


def test_a_dim_brain_is_found_far_from_bright_fluid(bright):
    """On the whole field of view it would be dark: 40 times less than the brightest."""
    volume = torch.zeros(180, 100, 40)
    volume[:100, :90] = volume_of(((60, 60, 90), 34))
    fluid = torch.zeros_like(volume)
    fluid[150:, :, :] = 40_000
    found = segment_brain(volume + fluid, SIZES, bright, (20, 400))
    assert np.abs(_center(found.probability) - (60, 60, 90)).max() < 1.5


def test_zeros_around_a_volume_are_not_looked_at(bright):
    """As a program that resamples leaves them: the same windows, wherever the volume stands."""
    volume = volume_of(((150, 120, 90), 35)) + 1
    wide = torch.nn.functional.pad(volume, (12, 20, 30, 40, 35, 25))
    windows = []
    bright.find.register_forward_hook(lambda _find, given, _found: windows.append(given[0]))
    found = [segment_brain(one, SIZES, bright).probability for one in (volume, wide)]
    alone, padded = windows[: len(windows) // 2], windows[len(windows) // 2 :]
    assert len(windows) % 2 == 0
    for one, other in zip(alone, padded, strict=True):
        assert (one - other).abs().max() < 0.05  # the outermost voxels, nearly dark, fade to zero
    assert np.abs(found[0] - found[1][35:-25, 30:-40, 12:-20]).max() < 1e-3


def test_the_one_that_is_recognised_is_taken(bright):
    """Beside a ball in a dim shell there is one without."""
    volume = volume_of(((60, 60, 90), 34), ((200, 180, 90), 34))
    shell = 0.2 * volume_of(((200, 180, 90), 60))
    volume = torch.maximum(volume, shell)
    assert isinstance(bright.recognise, Recogniser)
    for surrounded, center in ((True, (200, 180, 90)), (False, (60, 60, 90))):
        bright.recognise.surrounded = surrounded
        found = segment_brain(volume, SIZES, bright)
        assert np.abs(_center(found.probability) - center).max() < 1.5
        assert [place.confidence > 0.5 for place in found.places] == [True, False]
        assert np.abs(found.places[0].center - center).max() < 3
        assert found.rivals == 0


def test_a_fetal_brain_is_taken_rather_than_a_trunk_as_large_as_an_adult_head(bright):
    head, trunk = (60, 60, 90), (200, 180, 90)
    volume = volume_of((head, 30), (trunk, 56))
    neither = (900, 2300)
    asked = (((15, 2300), head, 1), ((600, 2300), trunk, 0), (neither, trunk, 0))
    for volumes, center, rivals in asked:
        found = segment_brain(volume, SIZES, bright, volumes)
        assert np.abs(_center(found.probability) - center).max() < 1.5
        assert np.abs(found.places[0].center - center).max() < 3
        assert found.rivals == rivals


@pytest.mark.parametrize(("shells", "rivals"), [((0.2, 0.2), 1), ((0.2, 0.09), 0)])
def test_what_is_far_less_likely_is_no_rival(bright, shells, rivals):
    """Both are held for brains, by the brightness of the shell around them."""
    centers = (60, 60, 90), (200, 180, 90)
    volume = volume_of(*((center, 34) for center in centers))
    for center, level in zip(centers, shells, strict=True):
        volume = torch.maximum(volume, level * volume_of((center, 60)))
    assert isinstance(bright.recognise, Recogniser)
    bright.recognise.surrounded = True
    found = segment_brain(volume, SIZES, bright)
    assert [place.confidence > 0.5 for place in found.places] == [True, True]
    assert found.rivals == rivals


def test_what_is_not_recognised_is_no_brain_but_told_of(bright):
    assert isinstance(bright.recognise, Recogniser)
    bright.recognise.surrounded = True
    found = segment_brain(volume_of(((60, 60, 90), 34)), SIZES, bright)
    assert found.probability.max() == 0
    assert len(found.places) == 1 and found.places[0].confidence < 0.05


@pytest.mark.parametrize("surrounded", [None, True], ids=["a brain", "no brain"])
def test_parts_of_a_brain_are_not_looked_at_and_what_is_beside_it_is(bright, surrounded):
    large = volume_of(((200, 180, 90), 60))
    holes = volume_of(
        ((175, 160, 90), 12), ((225, 200, 90), 12)
    )  # *find* has smaller blobs as well
    volume = torch.where(holes > 0, 0.5, 1.0) * large + volume_of(((60, 60, 90), 34))
    assert isinstance(bright.recognise, Recogniser)
    bright.recognise.surrounded = surrounded
    every = all_outlines(volume, SIZES, bright)
    few = all_outlines(volume, SIZES, bright, lambda one: one.sure)
    assert len(few) == len(every) if surrounded else len(few) < len(every)
    for outlines in (every, few):
        for place in ((60.0, 60, 90), (200.0, 180, 90)):
            assert any(one.near(np.array(place)) for one in outlines)


def test_a_place_that_is_named_is_believed(bright):
    volume = volume_of(((60, 60, 90), 26), ((200, 180, 90), 36))
    assert isinstance(bright.recognise, Recogniser)
    bright.recognise.surrounded = True
    for place, center in (((68, 55, 85), (60, 60, 90)), ((190, 185, 90), (200, 180, 90))):
        found = segment_brain(volume, SIZES, bright, within=np.array(place, dtype=float))
        assert np.abs(_center(found.probability) - center).max() < 1.5
    nothing = segment_brain(volume, SIZES, bright, within=np.array((130.0, 20, 40)))
    assert nothing.probability.max() == 0

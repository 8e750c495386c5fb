"""A brain through a series."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.brain.bright import AFFINE, SIZES, volume_of
from unimo_bids.brain.finder import BrainFinder
from unimo_bids.brain.mask import Outlined, outlined
from unimo_bids.brain.propagation import Followed, follow_series, same_brain

STILL = ((150.0, 120.0, 90.0), 34.0)
Balls = tuple[tuple[tuple[float, float, float], float], ...]
DARK: Balls = ()


def _brain(ball: tuple[tuple[float, float, float], float]) -> Outlined:
    return outlined(volume_of(ball).numpy(), AFFINE)


def _follow(finder: BrainFinder, frames: Sequence[Balls], reference: int) -> Followed:
    volumes = [volume_of(*balls).numpy() for balls in frames]
    brain = _brain(STILL)
    done: list[float] = []
    followed = follow_series(
        finder, volumes.__getitem__, len(volumes), reference, brain, done.append
    )
    assert done == pytest.approx(np.arange(1, len(volumes) + 1) / len(volumes))
    return followed


def _center(mask: np.ndarray) -> np.ndarray:
    return np.argwhere(mask).mean(axis=0) * SIZES


def test_a_head_that_wanders_is_followed_both_ways(finder):
    places = [(150.0 + 12 * t, 120.0 - 9 * t, 90.0) for t in (-4, -3, -2, -1, 0, 1, 2, 3, 4)]
    followed = _follow(finder, [((place, 34.0),) for place in places], reference=4)
    assert followed.missing == () and followed.searched == ()
    for t, place in enumerate(places):
        assert np.abs(_center(followed.masks[..., t]) - place).max() < 1.5
    assert followed.warnings() == []


def test_a_frame_that_shows_something_else_does_not_lose_the_run(finder):
    twin = ((45.0, 45.0, 90.0), 34.0)
    followed = _follow(
        finder, [(STILL, twin), (STILL, twin), (twin,), (STILL, twin), (STILL, twin)], reference=0
    )
    assert followed.missing == (2,)
    for t in (0, 1, 3, 4):
        assert np.abs(_center(followed.masks[..., t]) - STILL[0]).max() < 1.5


@pytest.mark.parametrize("backwards", [False, True])
def test_a_frame_lost_in_a_jump_is_found_from_its_other_side(finder, monkeypatch, backwards):
    far, other = ((45.0, 45.0, 90.0), 34.0), ((240.0, 200.0, 90.0), 44.0)
    # two frames show something larger as well, which hides the brain from a search
    frames: list[Balls] = [(STILL,), (far, other), (far, other), (far,), (far,)]
    anywhere = finder.find
    hidden = volume_of(other).numpy()
    monkeypatch.setattr(
        finder, "find", lambda volume: anywhere(hidden if volume[80, 66, 20] else volume)
    )
    reference = len(frames) - 1 if backwards else 0
    followed = _follow(finder, frames[::-1] if backwards else frames, reference)
    assert followed.missing == ()
    masks = followed.masks[..., ::-1] if backwards else followed.masks
    for t in range(1, 5):
        assert np.abs(_center(masks[..., t]) - far[0]).max() < 1.5


def test_frames_without_the_brain_have_no_mask(finder):
    other = ((42.0, 42.0, 90.0), 48.0)  # bright, but not this brain
    followed = _follow(finder, [(STILL,), DARK, (STILL,), (other,), (STILL,)], reference=2)
    assert followed.missing == (1, 3) and followed.searched == (1, 3)
    assert [bool(followed.masks[..., t].any()) for t in range(5)] == [1, 0, 1, 0, 1]
    assert followed.warnings() == ["The brain was not found in 2 frames (1, 3)."]


def test_the_same_brain_may_have_moved_but_not_grown():
    here, there = (_brain(((x, 120, 90), 34)) for x in (100, 200))
    larger = _brain(((100, 120, 90), 44))
    assert same_brain(here, there) and not same_brain(here, there, moved=False)
    assert not same_brain(here, larger) and not same_brain(here, 0 * here)

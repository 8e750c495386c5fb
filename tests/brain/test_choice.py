"""Which of two ways is believed."""

from __future__ import annotations

import numpy as np
import pytest
from torch import Tensor, nn

from tests.brain.bright import AFFINE, Blind, confident, volume_of
from unimo_bids.brain import epi
from unimo_bids.brain.choice import NOTHING, UNSURE, Method, extract_brain
from unimo_bids.brain.network import BrainNetworks
from unimo_bids.brain.unimo import METHOD, UNCLEAR

ONE = volume_of(((150, 120, 90), 50)).numpy()
TWO = volume_of(((60, 60, 90), 34), ((200, 180, 90), 36)).numpy()


@pytest.mark.parametrize(
    ("method", "found"), [("auto", METHOD), ("unimo", METHOD), ("epi", epi.METHOD)]
)
def test_what_is_clear_is_found_as_asked(bright: BrainNetworks, method: Method, found: str) -> None:
    brain = extract_brain(ONE, AFFINE, method)
    assert brain.method == found and brain.usable and not brain.doubts


def test_what_is_not_clear_is_left_to_the_other_way(bright: BrainNetworks) -> None:
    bright.add_module("segment", _Hesitant())
    doubted = extract_brain(ONE, AFFINE, "unimo")
    assert doubted.method == METHOD and doubted.doubts == (UNCLEAR,)
    assert extract_brain(ONE, AFFINE, "auto").method == epi.METHOD


def test_other_doubts_stay(bright: BrainNetworks) -> None:
    brain = extract_brain(TWO, AFFINE, "auto")
    assert brain.method == METHOD and brain.usable and "twins" in brain.doubts[0]


def test_no_brain_is_not_usable(bright: BrainNetworks) -> None:
    specks = np.random.default_rng(0).normal(100, 5, (40, 40, 20))
    specks[::2] += 300
    for part in ("find", "segment"):
        bright.add_module(part, Blind())
    methods: tuple[Method, ...] = ("auto", "unimo")
    for method in methods:
        brain = extract_brain(specks, AFFINE, method)
        assert not brain.usable and brain.doubts == (NOTHING,)


class _Hesitant(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return 2 * (image - 0.5)


def test_what_is_more_likely_no_brain_is_doubted(
    bright: BrainNetworks, monkeypatch: pytest.MonkeyPatch
) -> None:
    confident(monkeypatch, 0.4)
    assert extract_brain(ONE, AFFINE, "unimo").doubts == (UNSURE,)
    assert not extract_brain(ONE, AFFINE, "unimo", center=(150, 120, 90)).doubts  # it was seen
    confident(monkeypatch, 0.6)
    assert not extract_brain(ONE, AFFINE, "unimo").doubts


def test_intensity_and_shape_count_only_about_the_place_that_was_seen(
    bright: BrainNetworks,
) -> None:
    for part in ("find", "segment"):
        bright.add_module(part, Blind())
    assert extract_brain(ONE, AFFINE, "auto", center=(150, 120, 90)).method == epi.METHOD
    assert not extract_brain(ONE, AFFINE, "auto", center=(60, 120, 90)).usable

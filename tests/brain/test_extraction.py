"""Which of two ways is believed."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from torch import Tensor

from tests.brain.bright import AFFINE, Blind, Bright, confident, volume_of
from unimo_bids.brain import epi
from unimo_bids.brain.advice import advised
from unimo_bids.brain.extraction import ELSEWHERE, NOTHING, extract_brain
from unimo_bids.brain.finder import METHOD, UNCLEAR, UNSURE

ONE = volume_of(((150, 120, 90), 50)).numpy()
TWO = volume_of(((60, 60, 90), 34), ((200, 180, 90), 36)).numpy()


@pytest.mark.parametrize(
    ("method", "found"), [("auto", METHOD), ("unimo", METHOD), ("epi", epi.METHOD)]
)
def test_what_is_clear_is_found_as_asked(bright, method, found):
    brain = extract_brain(ONE, AFFINE, method)
    assert brain.method == found and brain.usable and not brain.doubts


def test_what_is_not_clear_is_left_to_the_other_way(bright):
    bright.add_module("segment", _Hesitant())
    doubted = extract_brain(ONE, AFFINE, "unimo")
    assert doubted.method == METHOD and doubted.doubts == (UNCLEAR,)
    assert extract_brain(ONE, AFFINE, "auto").method == epi.METHOD


def test_no_brain_is_not_usable(bright):
    specks = np.random.default_rng(0).normal(100, 5, (40, 40, 20))
    specks[::2] += 300
    for part in ("find", "segment"):
        bright.add_module(part, Blind())
    for method in ("auto", "unimo"):
        brain = extract_brain(specks, AFFINE, method)
        assert not brain.usable and brain.doubts == (NOTHING,)


@pytest.mark.parametrize("center", [(60, 60, 90), (200, 180, 90)])
def test_the_brain_that_a_person_points_at_is_found(bright, center):
    brain = extract_brain(TWO, AFFINE, "auto", center=center)
    middle = np.argwhere(brain.mask).mean(axis=0) * np.diag(AFFINE)[:3]
    assert np.abs(middle - center).max() < 2  # less than a voxel
    assert brain.doubts == ()


def test_a_mask_beside_the_place_is_doubted(bright):
    beside = (215, 120, 90)  # 15 mm from its surface
    brain = extract_brain(ONE, AFFINE, "unimo", center=beside)
    assert ELSEWHERE in brain.doubts


def test_the_other_way_must_find_the_place_too(bright):
    bright.add_module("segment", _Hesitant())
    assert extract_brain(ONE, AFFINE, "auto", center=(150, 120, 90)).method == epi.METHOD
    astray = extract_brain(ONE, AFFINE, "auto", center=(30, 30, 30))
    assert not (astray.method == epi.METHOD and astray.usable)


def test_twins_give_numbers_to_copy(bright):
    brain = extract_brain(TWO, AFFINE, "auto")
    assert brain.method == METHOD and brain.usable
    (told,) = advised(brain)
    found = re.fullmatch(r".*\(twins\?\): choose one with --brain-center=(\d+),(\d+),(\d+)", told)
    assert found is not None
    place = tuple(map(int, found.groups()))
    # to a voxel's half
    assert min(math.dist(place, one) for one in ((60, 60, 90), (200, 180, 90))) < 2
    other = extract_brain(TWO, AFFINE, "auto", center=place)
    assert not (other.mask & brain.mask).any() and other.doubts == ()


class _Hesitant(Bright):
    def forward(self, image: Tensor) -> Tensor:
        return 2 * (image - 0.5)


def test_what_is_more_likely_no_brain_is_doubted(bright, monkeypatch):
    confident(monkeypatch, 0.4)
    assert extract_brain(ONE, AFFINE, "unimo").doubts == (UNSURE,)
    assert not extract_brain(ONE, AFFINE, "unimo", center=(150, 120, 90)).doubts  # it was seen
    confident(monkeypatch, 0.6)
    assert not extract_brain(ONE, AFFINE, "unimo").doubts

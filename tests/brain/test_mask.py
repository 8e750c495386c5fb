"""What is made of the networks' answers."""

from __future__ import annotations

import numpy as np
import pytest

from unimo_bids.brain.mask import RIM, SURE, mask_radius, outlined
from unimo_bids.brain.thresholds import OUTLINES

SIZES = np.full(3, 2.0)


@pytest.mark.parametrize(("radius", "rim"), [(40.0, True), (60.0, False)], ids=["fetal", "larger"])
def test_only_a_fetal_brain_reaches_beyond_a_half(radius, rim):
    axes = np.meshgrid(*[2.0 * np.arange(-35, 36)] * 3, indexing="ij", sparse=True)
    distance = np.sqrt(sum(axis**2 for axis in axes))
    probability = (0.5 + 0.1 * (radius - distance)).clip(0, 1).astype(np.float32)  # 0.1 a mm
    found = outlined(probability, np.diag([*SIZES, 1.0]))
    assert (found == RIM).any() == rim
    # 0.1: of balls of so many voxels
    assert mask_radius(found == SURE, SIZES) == pytest.approx(radius, abs=0.1)
    beyond = 10 * (0.5 - OUTLINES.unborn) if rim else 0
    assert mask_radius(found > 0, SIZES) == pytest.approx(radius + beyond, abs=0.1)


def test_where_nothing_is_likely_there_is_no_rim():
    assert not outlined(np.full((9, 9, 9), 0.4, np.float32), np.eye(4)).any()

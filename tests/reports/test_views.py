from __future__ import annotations

import numpy as np
import pytest

from unimo_bids.reports.figures.views import PLANES, intensity_window, to_bytes, view_around


def test_left_is_left_and_up_is_up_whatever_the_grid():
    # stored axes point to posterior, superior, right: a permutation with one flip
    affine = np.array([[0, 0, 2.0, 0], [-3.0, 0, 0, 0], [0, 4.0, 0, 0], [0, 0, 0, 1]])
    volume = np.zeros((10, 8, 12), np.uint8)
    volume[2, 6, 9] = 1  # towards the front, top and right
    view = view_around(np.ones_like(volume, dtype=bool), affine)
    canonical = view.canonical(volume)
    places = np.argwhere(canonical)[0]
    for across, up, through in PLANES:
        cut = view.cut(canonical, (across, up, through), int(places[through]))
        row, column = np.argwhere(cut)[0]
        assert column > cut.shape[1] / 2  # right, or front
        assert row < cut.shape[0] / 2  # front, or top
    assert view.extent(PLANES[0]) == (24.0, 30.0)


def test_window_is_that_of_the_brain():
    volume = np.full((5, 5, 5), 1e6)
    mask = np.zeros((5, 5, 5), bool)
    mask[1:4, 1:4, 1:4] = True
    volume[mask] = np.linspace(100, 200, 27)
    low, high = intensity_window(volume, mask)
    assert 0 < low < 100 and 200 < high < 250
    assert to_bytes(np.array([0.0, high - 1e-3, 1e9]), (low, high)).tolist() == [0, 254, 255]
    assert intensity_window(np.zeros((2, 2, 2)), np.ones((2, 2, 2), bool)) == (0, 1)


@pytest.mark.parametrize("count", [1, 3])
def test_cuts_spread_over_the_mask(count):
    mask = np.zeros((4, 4, 30), bool)
    mask[:, :, 10:21] = True
    view = view_around(mask, np.eye(4))
    places = view.indices(PLANES[0], mask, count)
    assert np.mean(places) == pytest.approx(15, abs=0.5) and min(places) > 10 and max(places) < 20

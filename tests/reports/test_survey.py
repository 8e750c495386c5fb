from __future__ import annotations

import numpy as np
import pytest

from tests.reports.conftest import SHAPE
from unimo_bids.files.series import read_series
from unimo_bids.reports.drawing import read_image
from unimo_bids.reports.figures.views import intensity_window, view_around
from unimo_bids.reports.survey import change_per_cent, plan_survey, survey


@pytest.fixture
def surveyed(record):
    boldref, affine, slice_axis = read_image(record.boldref)
    mask = read_image(record.mask)[0] > 0.5
    view = view_around(mask, affine)
    plan = plan_survey(view, mask, intensity_window(boldref, mask), 12, slice_axis)
    series = read_series(record.original)
    return series, mask, plan, survey(series, plan)


def test_slices_are_means_over_the_brain(surveyed):
    series, mask, _, found = surveyed
    data = np.stack([series.frame(t) for t in range(12)], axis=-1)
    for number in range(SHAPE[2]):
        inside = mask[:, :, number]
        if inside.any():
            wanted = data[:, :, number][inside].mean(axis=0)
            np.testing.assert_allclose(found.slices[number], wanted, rtol=1e-5)
        elif number < len(found.slices):
            assert np.isnan(found.slices[number]).all()


def test_voxels_go_from_the_edge_inwards(surveyed):
    series, mask, plan, found = surveyed
    x, y, z = np.unravel_index(plan.voxels, SHAPE)
    assert mask[x, y, z].all()
    radius = np.linalg.norm((np.stack([x, y, z]).T - (np.array(SHAPE) - 1) / 2), axis=1)
    tenth = len(radius) // 10
    assert radius[:tenth].mean() > 1.5 * radius[-tenth:].mean()
    wanted = [series.frame(t)[x[5], y[5], z[5]] for t in range(12)]
    np.testing.assert_array_equal(found.voxels[5], wanted)


def test_change_is_about_the_level_and_without_drift():
    time = np.arange(40)
    signal = np.stack([200 + 0 * time, 100 + 0.5 * time, 100.0 + (time == 7) * 10])
    plain, detrended = change_per_cent(signal), change_per_cent(signal, detrend=True)
    assert abs(plain[0]).max() == 0 and np.ptp(plain[1]) > 15
    assert abs(detrended[1]).max() < 0.1
    assert detrended[2, 7] == pytest.approx(10, abs=0.1)
    assert np.isfinite(change_per_cent(np.zeros((3, 5)))).all()

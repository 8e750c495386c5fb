from __future__ import annotations

import numpy as np
import pytest

from unimo_bids.qc import TemporalMoments
from unimo_bids.qc.similarity import Likeness


def moments_of(series, times=None):
    moments = TemporalMoments(series.shape[:-1])
    for t in range(series.shape[-1]):
        moments.update(series[..., t], None if times is None else times[t])
    return moments


@pytest.mark.parametrize("offset", [0, 1e7])
def test_as_numpy_in_one_go(offset):
    series = offset + np.random.default_rng(0).normal(5, 2, (3, 4, 50))
    moments = moments_of(series)
    np.testing.assert_allclose(moments.mean, series.mean(-1), rtol=1e-12)
    # a sum of squares would keep one digit of a deviation of 2 on 10⁷
    np.testing.assert_allclose(moments.std(), series.std(-1, ddof=1), rtol=1e-7)


def test_without_the_trend():
    times = np.array([0, 1, 2, 5, 6, 9, 12, 13.0])  # frames left out between
    series = np.random.default_rng(0).normal(100, 2, (3, 8)) + np.array([[0], [3], [-40]]) * times
    design = np.stack([np.ones(8), times], axis=1)
    residual = series.T - design @ np.linalg.lstsq(design, series.T, rcond=None)[0]
    expected = np.sqrt((residual**2).sum(0) / (8 - 2))
    np.testing.assert_allclose(moments_of(series, times).std(detrend=True), expected, rtol=1e-9)


def test_what_does_not_change_has_none():
    series = np.full((2, 2, 2, 20), 7.3, dtype=np.float32)
    series[0] = np.float32(5) + np.float32(0.1) * np.arange(20, dtype=np.float32)
    np.testing.assert_array_equal(moments_of(series).tsnr(), 0)
    np.testing.assert_array_equal(moments_of(series[..., :2]).tsnr(), 0)
    np.testing.assert_array_equal(TemporalMoments((2,)).tsnr(), 0)


def test_correlation():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 5, 6, 7))
    weights = np.zeros((5, 6, 7))
    weights[1:4] = 1
    inside = weights > 0
    expected = np.corrcoef(a[inside], b[inside])[0, 1]
    assert Likeness(b, weights)(a) == pytest.approx(expected)
    assert Likeness(a, weights * 0.5)(3 * a + 8) == pytest.approx(1)
    assert np.isnan(Likeness(b, weights)(np.ones_like(a)))
    assert np.isnan(Likeness(b, 0 * weights)(a))

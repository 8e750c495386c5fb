from __future__ import annotations

import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from unimo_bids.qc import dvars
from unimo_bids.qc.dvars import series_signals


def noisy_series(frames=60, shape=(9, 8, 7), offset=800.0, seed=0):
    """Autocorrelated noise about an uneven brain, a jump, a spike, and voxels that stand still."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, 8, (*shape, frames))
    for t in range(1, frames):
        noise[..., t] += 0.4 * noise[..., t - 1]
    series = offset + random.normal(0, 150, shape)[..., None] + noise
    series[..., frames // 2 :] += 20
    series[..., frames // 3] -= 60
    series[0] = 500
    return series.astype(np.float32)


def nipype_dvars(tmp_path, series, mask):
    """Standardised and plain DVARS of the real ComputeDVARS."""
    from nipype.algorithms.confounds import ComputeDVARS

    nib.Nifti1Image(series, np.eye(4)).to_filename(tmp_path / "series.nii")
    nib.Nifti1Image(mask.astype(np.uint8), np.eye(4)).to_filename(tmp_path / "mask.nii")
    interface = ComputeDVARS(
        in_file=str(tmp_path / "series.nii"),
        in_mask=str(tmp_path / "mask.nii"),
        remove_zerovariance=True,
        save_all=True,
    )
    result = interface.run(cwd=str(tmp_path))
    table = np.loadtxt(result.outputs.out_all, skiprows=1)
    return table[:, 0], table[:, 1]


@pytest.mark.parametrize(("frames", "block"), [(60, 500), (61, 2**20)])  # even and odd
def test_as_nipype(tmp_path, monkeypatch, frames, block):
    monkeypatch.setattr(dvars, "_BLOCK_VALUES", block)
    series = noisy_series(frames)
    mask = np.random.default_rng(1).uniform(size=series.shape[:3]) > 0.4
    mask[0, 0, 0] = True
    found = series_signals(series, mask)
    standardised, plain = nipype_dvars(tmp_path, series, mask)
    # nipype works in float32 and writes eight digits after the point
    np.testing.assert_allclose(found.dvars[1:], plain, rtol=2e-5)
    # nipype's is larger in noise of few frames
    expected = standardised * dvars._share_of_noise(frames)
    np.testing.assert_allclose(found.std_dvars[1:], expected, rtol=2e-5)
    assert np.isnan(found.dvars[0]) and np.isnan(found.std_dvars[0])


@pytest.mark.parametrize("frames", [3, 10, 100])
def test_noise_is_one_however_few_frames_there_are(frames):
    series = 1000 + np.random.default_rng(0).normal(0, 5, (20, 20, 20, frames))
    found = series_signals(series, np.ones((20, 20, 20)))
    # 8000 voxels know a mean square to 1.1 %; the approximation is good to 3 %
    np.testing.assert_allclose(found.std_dvars[1:], 1, atol=0.07)


def test_what_leaves_the_field_of_view_is_no_change():
    series = 1000 + np.random.default_rng(0).normal(0, 5, (20, 20, 20, 40)).astype(np.float32)
    whole, mask = series_signals(series, np.ones((20, 20, 20))), np.ones((20, 20, 20))
    seen = np.ones(series.shape, dtype=bool)
    seen[..., :2, 7] = seen[..., -1, 30:33] = seen[3, 4, 5] = False
    series[~seen] = 0
    found = series_signals(series, mask, seen[mask > 0].T)
    np.testing.assert_allclose(found.std_dvars, whole.std_dvars, atol=0.02)
    np.testing.assert_allclose(found.global_signal, 1000, atol=0.3)
    assert series_signals(series, mask).std_dvars[7] > 10
    # a frame that saw hardly anything counts as if it had seen that
    seen[..., 12] = np.arange(20) < 3
    series[~seen] = 0
    found = series_signals(series, mask, seen[mask > 0].T)
    assert (found.std_dvars[12:14] > 50).all() and found.global_signal[12] < 200


@pytest.mark.parametrize("unseen", [0.1, 0.35])
def test_a_place_that_half_of_the_frames_saw_has_its_own_noise(unseen):
    random = np.random.default_rng(1)
    series = 1000 + random.normal(0, 5, (20, 20, 20, 80)).astype(np.float32)
    mask, seen = np.ones((20, 20, 20)), np.ones(series.shape, dtype=bool)
    seen[: int(20 * unseen) - 1, ..., :40] = False
    seen[-2:, ..., ::2] = False
    series[~seen] = 0
    found, whole = series_signals(series, mask, seen[mask > 0].T), series_signals(series, mask)
    np.testing.assert_allclose(found.std_dvars[1:], 1, atol=0.04)
    np.testing.assert_allclose(found.dvars[1:], 5 * 2**0.5, atol=0.3)
    assert whole.std_dvars[40] > 2


def test_global_signal_is_the_mean_inside():
    series = noisy_series()
    mask = np.zeros(series.shape[:3])
    mask[2:5, 1:4] = 0.8
    mask[5:] = 0.4
    expected = series[2:5, 1:4].mean(axis=(0, 1, 2), dtype=np.float64)
    np.testing.assert_allclose(series_signals(series, mask).global_signal, expected, rtol=1e-9)


@pytest.mark.parametrize("offset", [0.0, -800.0])
def test_without_a_positive_median_only_the_ratio_is_known(offset):
    series = noisy_series(offset=offset) - 500 * (offset == 0)
    found = series_signals(series, np.ones(series.shape[:3]))
    assert np.isnan(found.dvars).all() and np.isfinite(found.std_dvars[1:]).all()


def test_where_nothing_varies_nothing_is_known():
    found = series_signals(np.full((3, 3, 3, 8), 7.0), np.ones((3, 3, 3)))
    assert np.isnan(found.dvars).all() and np.isnan(found.std_dvars).all()
    np.testing.assert_array_equal(found.global_signal, 7)


def test_an_empty_mask_is_refused():
    with pytest.raises(ValueError, match="empty"):
        series_signals(np.ones((3, 3, 3, 4)), np.full((3, 3, 3), 0.5))


@pytest.mark.parametrize("block", [7, 1000, 2**20])
@pytest.mark.parametrize("count", [1, 2, 999, 30_000, 250_001])
def test_median_is_exact(monkeypatch, block, count):
    monkeypatch.setattr(dvars, "_BLOCK_VALUES", max(block, count // 100))  # 100 blocks at most
    random = np.random.default_rng(count)
    for drawn in (
        random.normal(0, 1, (1, count)),
        random.integers(0, 3, (1, count)),
        np.sort(random.uniform(size=(1, count))) ** 9,
    ):
        values = drawn.astype(np.float32)
        # the mean of the middle two may be rounded to float32
        expected = np.median(values.astype(np.float64))
        assert dvars._median(values) == pytest.approx(expected, rel=1e-7)


def test_median_when_the_sample_misleads():
    values = np.random.default_rng(0).normal(100, 1, (2, 200_006)).astype(np.float32)
    values.reshape(-1)[::4] = 0  # just those that are sampled
    assert dvars._median(values) == np.median(values.astype(np.float64))


def test_memory_is_one_copy_of_the_masked_values(monkeypatch):
    monkeypatch.setattr(dvars, "_BLOCK_VALUES", 2**17)
    frames, shape = 300, (40, 40, 20)

    class Frames:
        """Gives one frame at a time, as a file does."""

        shape = (40, 40, 20, 300)

        def __getitem__(self, index):
            random = np.random.default_rng(index[1])
            return random.normal(1000, 5, (40, 40, 20)).astype(np.float32)

    tracemalloc.start()
    series_signals(Frames(), np.ones(shape))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    once = 4 * frames * np.prod(shape)
    # a fiftieth of the values lies near the median, twice; some blocks of 1 MiB in float64
    assert peak < 1.05 * once + 8 * 2**20

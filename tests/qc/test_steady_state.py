from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from unimo_bids.qc.steady_state import count_non_steady, leading_outliers


def relaxing(decay, excess, frames=80, seed=0):
    """Noise of deviation 1 about 1000, after an excess that decays from frame to frame."""
    noise = np.random.default_rng(seed).normal(1000, 1, frames)
    return noise + excess * decay ** np.arange(frames)


@pytest.mark.parametrize("decay", [0.1, 0.7])
@pytest.mark.parametrize("excess", [0, 300])
def test_as_nipype(tmp_path, decay, excess):
    from nipype.algorithms.confounds import NonSteadyStateDetector

    means = relaxing(decay, excess, seed=int(10 * decay) + excess)
    # contrast and noise in space that leave these means
    pattern = np.random.default_rng(0).normal(0, 200, (6, 5, 4, 80))
    series = pattern - pattern.mean(axis=(0, 1, 2)) + means
    nib.Nifti1Image(series, np.eye(4)).to_filename(tmp_path / "series.nii")
    result = NonSteadyStateDetector(in_file=str(tmp_path / "series.nii")).run()
    assert count_non_steady(series) == result.outputs.n_volumes_to_discard
    if excess:
        assert count_non_steady(series) >= 1


@pytest.mark.parametrize(("decay", "expected"), [(0.5, 4), (0.8, 11)])
def test_relaxation_is_counted_to_its_end(decay, expected):
    # 50 · decay^n falls to 3.5 deviations at n = 3.8 and 11.9; a long run widens the deviation
    counts = [leading_outliers(relaxing(decay, 50, seed=seed)) for seed in range(40)]
    assert np.median(counts) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("moved_at", [6, 10, 20])
@pytest.mark.parametrize("change", [-30, 10, 100])
def test_a_level_before_a_movement_is_no_relaxation(moved_at, change):
    counts = []
    for seed in range(40):
        signal = relaxing(0, 0, seed=seed)
        signal[:moved_at] += change
        counts.append(leading_outliers(signal))
    assert np.mean(counts) < 0.3 and max(counts) <= 3


def test_a_head_that_moves_within_the_frame_leaves_it_steady():
    random = np.random.default_rng(0)
    series = random.normal(200, 2, (16, 16, 10, 40))
    for t in range(40):
        x = 2 if t < 8 else 7
        series[x : x + 6, 4:10, 3:8, t] += 300
    assert count_non_steady(series) == 0


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        ([5.0] * 10, 0),
        ([9.0] + [5.0] * 10, 1),
        ([9.0, 7.0, 6.0, 5.5] + [5.0] * 10, 4),
        ([9.0] * 6 + [5.0] * 10, 0),
        ([0.0, 5.0], 0),
        ([3.0], 0),
    ],
)
def test_without_noise(signal, expected):
    assert leading_outliers(np.array(signal)) == expected

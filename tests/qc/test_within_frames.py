"""Confounds about slices, on a table of a few frames."""

import nibabel as nib
import numpy as np

from unimo_bids.qc.confounds import ConfoundSettings
from unimo_bids.qc.within_frames import coverage_of, describe_slice_confounds, slice_confounds

SETTINGS = ConfoundSettings(50.0)


def test_what_was_undone_is_no_reason_to_leave_a_frame_out():
    table = {
        "motion_status": np.array(["ok", "ok", "lost", "ok", "ok", "searched"]),
        "std_dvars": np.array([np.nan, 1.0, 1.0, SETTINGS.dvars_threshold + 0.1, 1.0, 1.0]),
        "framewise_displacement": np.array([np.nan, 9.0, 9.0, 9.0, 9.0, 9.0]),
        "non_steady_state_outlier00": np.array([1, 0, 0, 0, 0, 0]),
    }
    coverage = np.array([1.0, 1.0, 1.0, 1.0, 0.7, 0.95])
    moved = np.linspace(0, 5, 6)
    columns = slice_confounds(table, moved, moved / 2, coverage, 0.01 * moved, SETTINGS)
    assert columns["censor_uncorrected"].tolist() == [1, 0, 1, 1, 1, 0]
    del table["non_steady_state_outlier00"]
    columns = slice_confounds(table, moved, moved / 2, coverage, 0.01 * moved, SETTINGS)
    assert columns["censor_uncorrected"].tolist() == [0, 0, 1, 1, 1, 0]
    assert set(columns) == set(describe_slice_confounds(SETTINGS))


def test_coverage_is_that_of_the_brain(tmp_path):
    percent = np.full((4, 4, 2, 3), 100, dtype=np.uint8)
    percent[..., 0, 1] = 40  # half of the brain in frame 1
    percent[0, 0, :, 2] = 0  # and none of it in frame 2
    nib.save(nib.Nifti1Image(percent, np.eye(4)), tmp_path / "coverage.nii.gz")
    mask = np.zeros((4, 4, 2))
    mask[1:3, 1:3] = 1
    assert coverage_of(tmp_path / "coverage.nii.gz", mask).tolist() == [1.0, 0.5, 1.0]

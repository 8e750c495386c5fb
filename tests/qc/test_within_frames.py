"""Confounds about slices, on a table of a few frames."""

import nibabel as nib
import numpy as np

from unimo_bids.qc.within_frames import covered_by_slices


def test_coverage_is_that_of_the_brain(tmp_path):
    percent = np.full((4, 4, 2, 3), 100, dtype=np.uint8)
    percent[..., 0, 1] = 40  # half of the brain in frame 1
    percent[0, 0, :, 2] = 0  # and none of it in frame 2
    nib.save(nib.Nifti1Image(percent, np.eye(4)), tmp_path / "coverage.nii.gz")
    mask = np.zeros((4, 4, 2))
    mask[1:3, 1:3] = 1
    covered = covered_by_slices(tmp_path / "coverage.nii.gz", mask)
    assert covered.shape == (3, 8) and covered.mean(axis=1).tolist() == [1.0, 0.5, 1.0]

"""Where no field is looked for, what other steps see is what was there before."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from nipype.interfaces.base import isdefined

from tests import phantom
from tests.motion.test_distortion import known
from unimo_bids.files.transforms import write_itk
from unimo_bids.interfaces.deform import SeekDistortion
from unimo_bids.interfaces.results import write_arrays


def test_at_rest_and_under_slices_the_motion_is_handed_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    still = phantom.volume(phantom.rest(1)[0])[..., None].numpy().repeat(9, axis=-1)
    nib.save(nib.Nifti1Image(still.astype(np.float32), phantom.AFFINE.numpy()), "bold.nii.gz")
    motion = known(phantom.rest(9), still[..., 0])
    write_itk(tmp_path / "xfm.txt", motion.poses)
    step = SeekDistortion(
        in_file=str(tmp_path / "bold.nii.gz"),
        motion=write_arrays(tmp_path / "motion.npz", motion),
        transforms=str(tmp_path / "xfm.txt"),
        axis=1,
        how="auto",
    )
    for because in ("hardly moved", "made from slices"):
        found = step.run().outputs
        assert found.motion == step.inputs.motion and found.transforms == step.inputs.transforms
        assert not isdefined(found.distortion) and not found.about["corrected"]
        assert because in found.about["finding"]
        step.inputs.slices = step.inputs.motion

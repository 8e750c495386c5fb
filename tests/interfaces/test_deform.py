"""What other steps see: what was there before where no field is looked for; a measured field."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from nipype.interfaces.base import isdefined

from tests import phantom
from tests.deformation.test_field_map import measured
from tests.motion.distortion.test_estimation import AXIS, POSES, errors, known, series
from unimo_bids.files.transforms import write_itk
from unimo_bids.interfaces.deform import SeekDistortion
from unimo_bids.interfaces.results import read_distortion, read_motion, write_arrays
from unimo_bids.spatial.warp import Rigid


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


@pytest.mark.slow
def test_a_measured_field_is_undone(tmp_path, monkeypatch):
    """The map lies on other voxels, in other units, and knows nothing of the motion."""
    monkeypatch.chdir(tmp_path)
    bent, field = series(1.0), measured(-1)
    motion = known(POSES, bent[..., 0])
    for name, data, affine in (
        ("bold", bent, phantom.AFFINE),
        ("fieldmap", 2 * np.pi * field.hz.numpy(), field.grid.affine),
        ("magnitude", 300 * field.weights.numpy(), field.grid.affine),
    ):
        nib.save(nib.Nifti1Image(data, affine.numpy()), f"{name}.nii.gz")
    write_itk(tmp_path / "xfm.txt", motion.poses)
    found = SeekDistortion(
        in_file=str(tmp_path / "bold.nii.gz"),
        motion=write_arrays(tmp_path / "motion.npz", motion),
        transforms=str(tmp_path / "xfm.txt"),
        axis=AXIS,
        how="auto",
        field_map=[str(tmp_path / "fieldmap.nii.gz")],
        magnitude=str(tmp_path / "magnitude.nii.gz"),
        scale=1 / (2 * np.pi),
        readout=field.readout,
    )
    found = found.run().outputs
    assert found.about["field_map"] and found.about["corrected"]
    assert list(found.about["less_left"]) == ["j"] and found.about["less_left"]["j"] > 0.4
    distortion, under = read_distortion(found.distortion), read_motion(found.motion).poses
    before = errors([Rigid(pose) for pose in POSES], 1.0)
    after = errors([distortion.warp(pose) for pose in torch.from_numpy(under)], 1.0)
    assert float(after.mean()) < 0.3 * float(before.mean())

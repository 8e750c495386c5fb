"""A head that moves through a field that stays in the scanner, from the dataset to the report."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests import phantom
from tests.motion.distortion.test_estimation import POSES, series
from tests.system import study
from unimo_bids.files.fields import read_shift_field
from unimo_bids.files.tables import read_columns

RUN = "sub-01_task-bent"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def func(tmp_path_factory) -> Path:
    """Results of the run, in their folder."""
    folder = tmp_path_factory.mktemp("bent")
    raw, masks = folder / "raw", folder / "masks"
    for place, kind in ((raw, "raw"), (masks, "derivative")):
        study.describe(place, ["01"], kind)
    head = phantom.head_mask().numpy() > 0
    for path, data in (
        (raw / "sub-01" / "func" / f"{RUN}_bold.nii.gz", 10 * series(1.0)),
        (masks / "sub-01" / "func" / f"{RUN}_desc-brain_mask.nii.gz", head.astype(np.uint8)),
    ):
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(data, phantom.AFFINE.numpy()), path)
    known = {"TaskName": "bent", "RepetitionTime": 2.0, "PhaseEncodingDirection": "j-"}
    study.note(raw / "task-bent_bold.json", known)
    words = ("-d", f"masks={masks}", "--skip-bids-validation", "--work-dir", folder / "work")
    options = ("--reference", "0", "--deformation", "auto")
    finished = study.call(raw, folder / "out", "participant", *words, *options)
    assert finished.code == 0, finished.err
    return folder / "out" / "sub-01" / "func"


def test_frames_have_the_geometry_of_the_reference(func):
    """By true poses alone, 3.7 and more is left; noise of two frames is 2.8."""
    made = nib.load(func / f"{RUN}_desc-preproc_bold.nii.gz").get_fdata() / 10
    inside = phantom.head_mask().numpy() > 0
    left = np.std((made - made[..., :1])[inside], axis=0)
    assert left[1:].mean() < 3.3


def test_the_field_is_written_and_explained(func):
    xfm = f"{RUN}_from-orig_to-boldref_mode-image"
    field = read_shift_field(func / f"{xfm}_desc-deform_xfm.json")
    shown = nib.load(func / f"{RUN}_desc-displacement_boldmap.nii.gz").get_fdata()
    np.testing.assert_allclose(shown, field.shift, atol=1e-5)
    said = json.loads((func / f"{xfm}_desc-hmc_xfm.json").read_text())["Distortion"]
    assert said["corrected"] and said["axis"] == "j"
    less = said["less_left"]  # of a first step; the field that is found leaves 57 % less
    assert less["j"] > 0.3 and less["j"] > 3 * max(less["i"], less["k"])
    columns = read_columns(func / f"{RUN}_desc-confounds_timeseries.tsv")
    assert len(columns["bending_mean"]) == len(POSES)
    assert columns["bending_max"][0] < 0.05 and columns["bending_mean"][1:].min() > 0.1
    report = (func.parents[1] / "sub-01.html").read_text()
    assert "Distortion that bends the head" in report and said["finding"] in report

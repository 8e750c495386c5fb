"""`unimo-correct --deformation`: what it writes, and what it leaves alone."""

import json

import nibabel as nib
import numpy as np
import pytest

from tests import phantom
from tests.cli.conftest import save
from tests.motion.distortion.test_estimation import series
from unimo_bids.cli.correct import main
from unimo_bids.files.fields import read_shift_field

OPTIONS = ["--brain-extraction", "none", "--reference", "0", "--no-figure"]


@pytest.mark.slow
def test_a_field_is_found_and_written(tmp_path, capsys):
    """The real engine; the axis from the JSON file beside the series."""
    path = tmp_path / "bold.nii.gz"
    nib.save(nib.Nifti1Image(series(1.0), phantom.AFFINE.numpy()), path)
    (tmp_path / "bold.json").write_text(json.dumps({"PhaseEncodingDirection": "j-"}))
    out = tmp_path / "out"
    assert main([str(path), str(out), *OPTIONS, "--deformation", "auto"]) == 0
    field = read_shift_field(out / "bold_distortion.json")
    assert field.axis == 1
    shift = nib.load(out / "bold_shift.nii.gz")
    np.testing.assert_allclose(shift.get_fdata(), field.shift, atol=1e-6)
    said = json.loads((out / "bold_summary.json").read_text())["distortion"]
    assert said["corrected"] and said["axis"] == "j" and 1 < said["largest_shift_mm"] < 10
    assert "Distortion is corrected" in capsys.readouterr().out


def test_a_still_series_is_handed_on_as_it_is(tmp_path):
    rng = np.random.default_rng(0)
    still = phantom.volume(phantom.pose((0, 0, 0), (0, 0, 0)))[..., None].numpy()
    noisy = (still + 0.5 * rng.standard_normal((*phantom.SHAPE, 10))).astype(np.float32)
    path = tmp_path / "bold.nii.gz"
    nib.save(nib.Nifti1Image(noisy, phantom.AFFINE.numpy()), path)
    written = []
    for name, more in (("without", []), ("with", ["--deformation", "auto"])):
        options = [*OPTIONS, *more, "--phase-encoding", "j"] if more else OPTIONS
        assert main([str(path), str(tmp_path / name), *options]) == 0
        assert not (tmp_path / name / "bold_distortion.json").exists()
        written.append((tmp_path / name / "bold_corrected.nii.gz").read_bytes())
    assert written[0] == written[1]


def test_an_unknown_axis_is_asked_for(tmp_path, capsys):
    path = save(tmp_path / "bold.nii", np.random.default_rng(0).random((20, 20, 20, 4)) * 100)
    out = str(tmp_path / "out")
    assert main([str(path), out, *OPTIONS, "--deformation", "epi"]) == 2
    said = capsys.readouterr().err
    assert "bold.nii" in said and "--phase-encoding" in said


def test_a_broken_file_beside_the_series_is_named(tmp_path, capsys):
    path = save(tmp_path / "bold.nii", np.random.default_rng(0).random((8, 7, 6, 5)))
    (tmp_path / "bold.json").write_text("[")
    assert main([str(path), str(tmp_path / "out"), *OPTIONS, "--deformation", "auto"]) == 2
    assert "bold.json" in capsys.readouterr().err

"""`unimo-correct --slice-timing`: what it writes, and what it refuses."""

import json

import nibabel as nib
import numpy as np
import pytest

from tests import phantom
from tests.cli.conftest import save
from tests.motion.slices.test_slices import TIMES, TR, acquired, sway
from unimo_bids.cli.correct import main
from unimo_bids.files.tables import read_columns


@pytest.mark.slow
def test_slices_are_followed_and_written(tmp_path, capsys):
    """The real engine, on a head that turns within frames."""
    series = acquired(sway(6.0, 4.0))
    path = tmp_path / "bold.nii.gz"
    nib.save(nib.Nifti1Image(series, phantom.AFFINE.numpy()), path)
    sidecar = tmp_path / "bold.json"
    sidecar.write_text(json.dumps({"RepetitionTime": TR, "SliceTiming": TIMES.offsets.tolist()}))
    out = tmp_path / "out"
    options = ["--brain-extraction", "none", "--reference", "0", "--no-figure", "--slice-timing"]
    assert main([str(path), str(out), *options, str(sidecar)]) == 0
    table = read_columns(out / "bold_slices.tsv")
    assert len(table["time"]) == series.shape[3] * series.shape[2]
    assert (np.diff(table["time"]) > -1e-9).all()
    rebuilt = nib.load(out / "bold_rebuilt.nii.gz")
    coverage = nib.load(out / "bold_coverage.nii.gz")
    assert rebuilt.shape == coverage.shape == series.shape
    said = json.loads((out / "bold_summary.json").read_text())["slices"]
    assert said["within_frame_mm"]["max"] > 1 and said["saved"] == []
    assert "within frames" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"SliceTiming": [0, 1]}, "2 slice times for 6 slices"),
        ({"SliceTiming": [0, 1, 2, 0, 1, 2.5]}, "outside 0 … 2 s"),
        ({"SliceTiming": [0.5] * 6}, "acquired at once"),
        ({"SliceTiming": "0, 1"}, "SliceTiming"),
        ({"SliceEncodingDirection": "z"}, "none of i, j, k"),
        ({"RepetitionTime": "2 s"}, "RepetitionTime"),
    ],
)
def test_slice_times_that_cannot_be_are_refused(tmp_path, capsys, change, match):
    path = save(tmp_path / "bold.nii", np.random.default_rng(0).random((8, 7, 6, 5)))
    sidecar = tmp_path / "bold.json"
    good = {"RepetitionTime": 2.0, "SliceTiming": [0, 1, 0.3, 1.3, 0.6, 1.6]}
    sidecar.write_text(json.dumps(good | change))
    assert main([str(path), str(tmp_path / "out"), "--slice-timing", str(sidecar)]) == 2
    said = capsys.readouterr().err
    assert match in said and "bold.json" in said

"""`unimo-correct --slice-timing`: what it writes, and what it refuses."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests import phantom
from tests.motion.slices.test_slices import TIMES, TR, acquired, sway
from unimo_bids.cli.correct import main
from unimo_bids.files.series import Series
from unimo_bids.files.tables import read_columns
from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.motion.slices.timing import slice_times
from unimo_bids.pipeline.in_time import even_times


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
    assert main([str(path), str(out), *options, str(sidecar), "--slice-time-ref", "start"]) == 0
    table = read_columns(out / "bold_slices.tsv")
    assert len(table["time"]) == series.shape[3] * series.shape[2]
    assert (np.diff(table["time"]) > -1e-9).all()
    rebuilt = nib.load(out / "bold_rebuilt.nii.gz")
    coverage = nib.load(out / "bold_coverage.nii.gz")
    assert rebuilt.shape == coverage.shape == series.shape
    summary = json.loads((out / "bold_summary.json").read_text())
    assert summary["in_time"] == {"SliceTimingCorrected": True, "StartTime": 0.0}
    # nothing but the head's motion changes: interpolated, frames made from slices stay alike
    inside = phantom.head_mask().numpy() > 0.9
    frames = rebuilt.get_fdata()[inside]
    assert np.corrcoef(frames.T).min() > 0.99
    said = summary["slices"]
    assert said["within_frame_mm"]["max"] > 1 and said["saved"] == []
    assert "within frames" in capsys.readouterr().out


def test_a_series_at_rest_is_interpolated_in_time(tmp_path, monkeypatch, capsys):
    count, shape = 16, (6, 7, phantom.SHAPE[2])
    still = np.random.default_rng(0).uniform(500, 1000, shape)
    begun = np.arange(count) * TR

    def at(times):
        return still[..., None] * (1 + 0.05 * np.sin(2 * np.pi * times / 12))

    path, sidecar, out = (tmp_path / name for name in ("bold.nii.gz", "bold.json", "out"))
    series = at(TIMES.offsets[:, None] + begun)
    nib.save(nib.Nifti1Image(series, phantom.AFFINE.numpy()), path)
    # the header says 1 s: the sidecar is right
    sidecar.write_text(json.dumps({"RepetitionTime": TR, "SliceTiming": TIMES.offsets.tolist()}))
    motion = MotionEstimate(
        np.tile(np.eye(4), (count, 1, 1)), np.zeros((count, 6, 6)), np.ones(count),
        np.array(["ok"] * count), still, np.ones(shape), 0, np.zeros(3), 50.0,
    )  # fmt: skip
    monkeypatch.setattr("unimo_bids.pipeline.correct._estimate", lambda *_: (motion, None))
    options = ["--no-figure", "--slices", "off", "--slice-time-ref", "middle"]
    assert main([str(path), str(out), *options, "--slice-timing", str(sidecar)]) == 0
    said = json.loads((out / "bold_summary.json").read_text())["in_time"]
    assert said["StartTime"] == pytest.approx(TIMES.offsets.max() / 2, abs=1e-3)
    apart = nib.load(out / "bold_corrected.nii.gz").get_fdata() - at(begun + said["StartTime"])
    assert np.abs(apart[..., 3:-3]).max() < 2.5  # of 50: at 6 frames a cycle
    assert main([str(path), str(tmp_path / "other"), *options]) == 0
    assert "not interpolated in time: no --slice-timing was given" in capsys.readouterr().err


GOOD = {"RepetitionTime": 2.0, "SliceTiming": [0, 1, 0.3, 1.3, 0.6, 1.6]}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"SliceTiming": [0, 1]}, "2 slice times for 6 slices"),
        ({"SliceTiming": [0, 1, 2, 0, 1, 2.5]}, "outside 0 … 2 s"),
        ({"SliceTiming": [0.0] * 6}, "the same time"),
        ({"SliceTiming": "0, 1"}, "no list of seconds"),
        ({"SliceTiming": [[0, 1, 2, 3, 4, 5]] * 2}, "no list of seconds"),  # one for each echo
        ({"SliceEncodingDirection": "z"}, "none of i, j, k"),
        ({"SliceEncodingDirection": "j"}, "6 slice times for 7 slices"),
        ({"RepetitionTime": "2 s"}, "RepetitionTime"),
        ({"MultibandAccelerationFactor": 4}, "the multiband factor is 4"),
        ({"MultibandAccelerationFactor": 2}, "groups of up to 1"),
    ],
)
def test_slice_times_that_cannot_be_are_said_not_to_be(change, match):
    with pytest.raises(ValueError, match=match):
        slice_times(GOOD | change, (8, 7, 6, 5), repetition_of(GOOD | change))


def repetition_of(sidecar):
    given = sidecar["RepetitionTime"]
    return given if isinstance(given, float) else None


def test_a_slice_axis_that_contradicts_the_header_is_not_believed():
    with pytest.raises(ValueError, match="along k in the sidecar and along j in"):
        slice_times(GOOD, (8, 7, 6, 5), 2.0, header_axis=1)
    assert slice_times(GOOD, (8, 7, 6, 5), 2.0, header_axis=2).axis == 2
    bands = GOOD | {"SliceTiming": [0, 0.5, 1] * 2, "MultibandAccelerationFactor": 2}
    assert slice_times(bands, (8, 7, 6, 5), 2.0).offsets.tolist() == [0, 0.5, 1] * 2
    backward = slice_times(GOOD | {"SliceEncodingDirection": "k-"}, (8, 7, 6, 5), 2.0)
    assert backward.offsets.tolist() == GOOD["SliceTiming"][::-1]


@pytest.mark.parametrize(("frames", "why"), [(4, "4 frames is too short"), (5, "")])
def test_a_short_series_is_not_interpolated_in_time(frames, why):
    header = nib.Nifti1Header()
    series = Series(np.zeros((8, 7, 6, frames)), np.eye(4), header, 2.0, (), Path("bold.nii"))
    even, said = even_times(GOOD, series, 0.5)
    assert (even is None) == bool(why) and why in "".join(said)


@pytest.mark.slow
def test_without_slice_times_a_run_goes_on_by_frames(tmp_path, capsys):
    path = tmp_path / "bold.nii.gz"
    series = acquired(sway(0.0, 0.0))[..., :3]
    nib.save(nib.Nifti1Image(series, phantom.AFFINE.numpy()), path)
    sidecar, out = tmp_path / "bold.json", tmp_path / "out"
    sidecar.write_text(json.dumps(GOOD))
    options = ["--brain-extraction", "none", "--reference", "0", "--no-figure", "--slice-timing"]
    assert main([str(path), str(out), *options, str(sidecar)]) == 0
    assert "6 slice times for 30 slices" in capsys.readouterr().err
    assert (out / "bold_corrected.nii.gz").exists() and not (out / "bold_slices.tsv").exists()

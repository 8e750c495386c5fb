"""Slices from node to node, on a head that turns within its frames and on one at rest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nipype.interfaces.base import isdefined

from tests.motion.slices.test_slices import TIMES, TR, acquired, sway
from tests.phantom import AFFINE, SHAPE
from unimo_bids.bids.query import BoldRun
from unimo_bids.files.tables import read_columns
from unimo_bids.files.transforms import write_itk
from unimo_bids.interfaces.confounds import WriteConfounds
from unimo_bids.interfaces.figures import _brightness
from unimo_bids.interfaces.results import read_motion, write_arrays
from unimo_bids.interfaces.series import ResampleSeries
from unimo_bids.interfaces.slices import FollowSlices
from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.motion.estimation import estimate_motion
from unimo_bids.pipeline.in_time import NOT_IN_TIME
from unimo_bids.settings import Settings
from unimo_bids.workflows.slices import in_time, slice_warnings

METADATA = {"SliceTiming": TIMES.offsets.tolist(), "FlipAngle": 80}


def followed(folder, mask, degrees, shift, **given):
    """The series, and what the step makes of it."""
    series = acquired(sway(degrees, shift))
    raw = folder / "bold.nii.gz"
    nib.save(nib.Nifti1Image(series, AFFINE.numpy()), raw)
    motion = estimate_motion(series, AFFINE.numpy(), mask=mask.numpy(), reference=0)
    write_itk(folder / "transforms.txt", motion.poses)
    inputs = {"metadata": METADATA, "repetition_time": TR} | given
    step = FollowSlices(
        in_file=raw,
        motion=write_arrays(folder / "frames.npz", motion),
        transforms=folder / "transforms.txt",
        **inputs,
    )
    return raw, step.run().outputs


@pytest.mark.slow
def test_slices_of_a_moving_head_make_its_series(tmp_path, monkeypatch, mask):
    monkeypatch.chdir(tmp_path)
    raw, found = followed(tmp_path, mask, 8.0, 6.0)
    assert found.warnings == []
    table = read_columns(found.table)
    assert len(table["time"]) == len(read_motion(found.motion).poses) * SHAPE[2]
    assert set(json.loads(Path(found.metadata).read_text())) == set(table)
    made = ResampleSeries(in_files=[raw], motion=found.motion, slices=found.slices, device="cpu")
    made = made.run().outputs
    # the phantom has no history: what is predicted for it explains nothing
    history, receive = (made.about_brightness[key] for key in ("SpinHistory", "ReceiveField"))
    assert history["FlipAngle"] == 80 and not history["Removed"]
    assert not receive["Removed"]
    similarity = json.loads(Path(made.similarity).read_text())
    assert min(similarity["after"]) > 0.99
    nib.save(nib.Nifti1Image((mask.numpy() > 0.5).astype(np.uint8), AFFINE.numpy()), "mask.nii.gz")
    motion = read_motion(found.motion)
    rest = np.tile(np.eye(4), (len(motion.poses), 1, 1))
    residual = write_arrays(tmp_path / "residual.npz", replace(motion, poses=rest))
    confounds = WriteConfounds(
        in_file=made.first,
        mask="mask.nii.gz",
        motion=found.motion,
        residual=residual,
        slices=found.slices,
        coverage=made.coverage,
        history=made.history,
        brain_radius=35.0,
        repetition_time=TR,
    ).run()
    columns = read_columns(confounds.outputs.confounds)
    assert (columns["slice_coverage"] > 0.95).all()
    moving = columns["within_frame_max"] > 1
    assert moving[2:].all()
    assert (columns["within_frame_rms"] < columns["within_frame_max"])[moving].all()
    assert columns["censor"][2:].all() and not columns["censor_uncorrected"].all()
    step = FollowSlices(
        in_file=raw,
        motion=tmp_path / "frames.npz",
        transforms=tmp_path / "transforms.txt",
        metadata=METADATA | {"SliceEncodingDirection": "k-"},  # which it is not
        repetition_time=TR,
    )
    assert "even ones first, up" in step.run().outputs.warnings[0]


@pytest.mark.slow
def test_at_rest_and_without_slice_times_frames_stay_as_they_are(tmp_path, monkeypatch, mask):
    monkeypatch.chdir(tmp_path)
    _, found = followed(tmp_path, mask, 0.0, 0.0)
    assert not isdefined(found.slices) and found.warnings == []
    assert found.motion.endswith("frames.npz")
    short = {"SliceTiming": METADATA["SliceTiming"][:7]}
    _, found = followed(tmp_path, mask, 0.0, 0.0, metadata=short, required=True)
    assert not isdefined(found.slices) and "7 slice times for 30 slices" in found.warnings[0]


def test_what_excludes_interpolation_in_time_is_said():
    def asked(metadata, **options):
        run = BoldRun((Path("bold.nii"),), {"sub": "01", "task": "rest"}, metadata, TR)
        settings = Settings(Path("raw"), Path("out"), slice_time_ref=0.5, **options)
        return in_time(run, settings), " ".join(slice_warnings(run, settings))

    assert asked(METADATA) == ({"slice_time_ref": 0.5, "metadata": METADATA}, "")
    assert asked({}) == ({}, NOT_IN_TIME.format("no sidecar has a SliceTiming"))
    ignored = asked(METADATA, ignore=("slicetiming",))
    assert ignored == ({}, NOT_IN_TIME.format("--ignore slicetiming"))


def test_the_series_is_interpolated_in_time_where_slice_times_are_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    count, shape = 16, (6, 7, SHAPE[2])
    still = np.random.default_rng(0).uniform(500, 1000, shape)
    begun = np.arange(count) * TR

    def at(times):
        return still[..., None] * (1 + 0.05 * np.sin(2 * np.pi * times / 12))

    nib.save(nib.Nifti1Image(at(TIMES.offsets[:, None] + begun), AFFINE.numpy()), "bold.nii.gz")
    motion = MotionEstimate(
        np.tile(np.eye(4), (count, 1, 1)), np.zeros((count, 6, 6)), np.ones(count),
        np.array(["ok"] * count), still, np.ones(shape), 0, np.zeros(3), 50.0,
    )  # fmt: skip

    def made(times):
        step = ResampleSeries(
            in_files=["bold.nii.gz"],
            motion=write_arrays(tmp_path / "motion.npz", motion),
            repetition_time=TR,
            slice_time_ref=0.5,
            metadata={"SliceTiming": times},
            dummy_scans=0,
            device="cpu",
        )
        return step.run().outputs

    found = made(TIMES.offsets.tolist())
    moment = found.about_time["StartTime"]
    assert moment == pytest.approx(TIMES.offsets.max() / 2, abs=1e-3)
    apart = nib.load(found.first).get_fdata() - at(begun + moment)
    assert np.abs(apart[..., 3:-3]).max() < 2.5  # of 50: at 6 frames a cycle, and as int16
    refused = made([0.0] * SHAPE[2])
    assert "not interpolated in time: all slices have the same time" in refused.warnings[0]
    assert refused.about_time == {}


def test_the_report_tells_what_was_found_of_brightness():
    found = {"ReceiveField": {"ExplainedUnseen": 0.204, "Removed": True}}
    words = "explains 20.4 % of the variance in unseen frames, removed"
    assert _brightness(found) == {"Receive field": words}
    assert _brightness({}) == {}

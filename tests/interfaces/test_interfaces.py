"""Steps one by one, on the phantom: what each refuses, and what it hands on."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nipype.interfaces.base import isdefined

from tests import phantom
from tests.brain.bright import bright_networks
from tests.reports.conftest import make_record
from tests.system import study
from unimo_bids.brain import finder
from unimo_bids.errors import InputError, MachineError
from unimo_bids.files.mapped import open_series
from unimo_bids.files.series import read_series
from unimo_bids.files.tables import write_table
from unimo_bids.interfaces.figures import DrawRun, _candidates
from unimo_bids.interfaces.motion import EstimateMotion, TrackHead
from unimo_bids.interfaces.prepare import PrepareRun
from unimo_bids.interfaces.results import read_motion, read_tracking, write_arrays
from unimo_bids.interfaces.series import ResampleSeries
from unimo_bids.motion.estimate import MotionEstimate, Tracking
from unimo_bids.pipeline.steps import non_steady_frames
from unimo_bids.qc.confounds import MOTION_NAMES


def done(interface):
    return interface.run().outputs


def test_echoes_of_different_size_are_refused(bold, here):
    short = study.image(here / "short.nii.gz", study.frames(1)[..., :8])
    with pytest.raises(InputError, match=r"short\.nii\.gz: this echo is .*8\)"):
        PrepareRun(in_files=[bold, short]).run()


def test_frames_to_leave_out_are_found_or_given(bold):
    series = read_series(bold)
    data = series.data.astype(np.float32)
    data[..., 0] *= 1.6
    bright = replace(series, data=data)
    assert non_steady_frames(series) == 0
    assert non_steady_frames(bright) == 1
    assert non_steady_frames(bright, 3) == 3
    assert non_steady_frames(series, 11) == 11
    for frames in (12, 30):
        with pytest.raises(InputError, match=f"--dummy-scans {frames} leaves none of its 12 "):
            non_steady_frames(series, frames)


def test_the_reference_is_still_or_asked_for(bold):
    found = done(PrepareRun(in_files=[bold], method="epi"))
    assert found.reference not in (6, 7)  # around the jump
    asked = brain(bold, method="epi", frame=4)
    assert asked.reference == 4
    np.testing.assert_allclose(
        nib.load(asked.volume).dataobj, nib.load(bold).dataobj[..., 4], atol=0.5
    )
    with pytest.raises(InputError, match=r"there is no frame 12 \(they are 0 to 11\)"):
        brain(bold, frame=12)


def test_slices_lie_along_the_axis_that_the_sidecar_names(bold):
    assert open_series(brain(bold, method="epi").first).slice_axis == 2
    assert open_series(brain(bold, method="epi", slice_axis=1).first).slice_axis == 1


def brain(bold, **given):
    return done(PrepareRun(in_files=[bold], **({"frame": 0} | given)))


def test_a_brain_is_found_where_none_is_given(bold, here):
    found = brain(bold, method="epi")  # what nods here is no brain to the networks
    head = phantom.volume(study.motion(1)[0], affine=study.AFFINE, shape=study.SHAPE).numpy() > 30
    mask = np.asanyarray(nib.load(found.mask).dataobj) > 0
    assert 2 * (mask & head).sum() / (mask.sum() + head.sum()) > 0.9  # Dice
    assert found.brain_warnings == [] and found.population_reason == "the brain's size"
    assert found.motion_mask == found.still_mask


def test_a_place_is_looked_at_and_kept(bold, here, monkeypatch):
    trained = bright_networks()
    monkeypatch.setattr(finder, "_networks", lambda _device: trained)
    given = {"center": "12,12,8vox", "center_reason": "participants.tsv: brain_center"}
    found = brain(bold, method="unimo", **given)
    assert found.about_brain["BrainMethod"] == "neural networks" == found.method
    assert found.about_brain["BrainCenter"] == "12,12,8vox"
    assert found.about_brain["BrainCenterSource"] == "participants.tsv: brain_center"
    beyond = {"center": "500,0,0", "center_reason": "task-rest_bold.json: BrainCenter"}
    with pytest.raises(InputError, match=r"bold\.nii\.gz: task-rest_bold\.json: BrainCenter 500,"):
        brain(bold, **beyond)


@pytest.mark.parametrize(
    ("doubts", "confidences", "shown"),
    [
        ([], [0.9], 0),
        ([], [0.9, 0.1], 0),
        ([], [0.9, 0.1, 0.2], 3),
        (["it is cut"], [0.9], 0),  # there is no choice
        (["it is cut"], [0.9, 0.1], 2),
        (["it is cut"], [0.9, *[0.1] * 7], 5),
    ],
)
def test_places_are_shown_where_there_is_a_choice(doubts, confidences, shown):
    about = {
        "BrainDoubts": doubts,
        "BrainConfidence": confidences[0],
        "BrainCandidates": [
            {"Center": [0.0, 0.0, 50.0 * n], "Volume": 50.0, "Confidence": sure}
            for n, sure in enumerate(confidences)
        ],
    }
    places, chosen = _candidates(about)
    assert chosen and len(places) == shown
    assert [one.confidence for one in places] == sorted(confidences, reverse=True)[:shown]
    del about["BrainConfidence"]  # nothing was chosen
    places, chosen = _candidates(about | {"BrainDoubts": ["no brain was found"]})
    assert not chosen and len(places) == min(len(confidences), 4)


def test_a_damaged_estimate_is_named(bold, here):
    estimate_file = here / "motion.npz"
    estimate_file.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(
        MachineError, match=r"motion\.npz: .*work folder is damaged; repeat the command"
    ):
        read_motion(str(estimate_file))


def test_only_given_masks_are_used_if_that_is_asked_for(bold, here):
    with pytest.raises(InputError, match="no folder of --derivatives holds a brain mask"):
        brain(bold, method="derivatives")


def test_a_mask_of_every_frame_is_one_once_motion_is_undone(bold, here):
    moving = np.zeros((*study.SHAPE, study.FRAMES), np.uint8)
    for t in range(study.FRAMES):
        moving[8:16, 8:16, 4 : 10 + t % 2, t] = 1
    given = study.image(here / "moving.nii.gz", moving)
    found = brain(bold, given_mask=given, population="fetal")
    assert found.motion_mask == str(given)
    np.testing.assert_array_equal(nib.load(found.mask).dataobj, moving[..., 0])
    assert nib.load(found.still_mask).ndim == 3
    assert (found.population, found.population_reason) == ("fetal", "")


def test_what_does_not_look_like_a_brain_is_not_taken_for_one(here):
    noise = np.random.default_rng(0).normal(500, 20, (*study.SHAPE, 4)).astype(np.int16)
    found = brain(study.image(here / "noise.nii.gz", noise))
    assert found.brain_warnings[0].startswith("The brain mask is uncertain: ")
    noise = brain(study.image(here / "noise.nii.gz", noise), method="epi")
    assert "does not look like a brain" in noise.brain_warnings[0]
    assert not isdefined(noise.motion_mask) and not isdefined(noise.still_mask)


def test_a_tracking_is_handed_on_as_it_is(here):
    known = replace(
        Tracking.at_rest(3, reference=1),
        similarity=np.array([0.9, 1.0, np.nan]),
        contrasts=True,
        findings=("Frames differ in contrast (3 ± 1).",),
    )
    for tracking in (known, replace(known, findings=(), covariance=np.ones((3, 6, 6)))):
        found = read_tracking(write_arrays(here / "tracking.npz", tracking))
        for name, value in asdict(tracking).items():
            np.testing.assert_array_equal(getattr(found, name), value)
        assert found.findings == tracking.findings and found.contrasts is True


def test_motion_relative_to_a_volume_scanned_apart(bold, here):
    apart = study.motion(30)[3]
    volume = 10 * phantom.volume(apart, affine=study.AFFINE, shape=study.SHAPE).numpy()
    sbref = study.image(here / "sbref.nii.gz", volume.astype(np.int16))
    given = {"in_file": bold, "reference_file": sbref, "reference": 0, "device": "cpu"}
    tracked = done(TrackHead(**given)).tracking
    motion = read_motion(done(EstimateMotion(**given, tracking=tracked)).motion)
    assert motion.reference == -1 and len(motion.poses) == len(motion.status) == study.FRAMES
    true = study.motion(1).numpy() @ np.linalg.inv(apart.numpy())
    assert np.abs(motion.poses[:, :3, 3] - true[:, :3, 3]).max() < 0.3  # a tenth of a voxel


def estimate(poses: np.ndarray, **changes) -> MotionEstimate:
    frames = len(poses)
    given = {
        "poses": poses,
        "covariance": np.tile(1e-6 * np.eye(6), (frames, 1, 1)),
        "similarity": np.ones(frames),
        "status": np.full(frames, "ok", dtype="<U8"),
        "template": study.frames(1)[..., 0].astype(np.float32),
        "mask": np.ones(study.SHAPE, np.float32),
        "reference": 0,
        "center": np.zeros(3),
        "radius": 40.0,
    }
    return MotionEstimate(**(given | changes))


def test_frames_that_moved_by_voxels_are_put_back(bold, here):
    """Two voxels along x, an echo of half the signal, and a new time between frames."""
    data = study.frames(1)[..., :1].repeat(3, axis=-1)
    data[..., 2] = np.roll(data[..., 0], 2, axis=0)
    files = [study.image(here / "one.nii.gz", data), study.image(here / "two.nii.gz", data // 2)]
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[2, :3, 3] = 2 * study.AFFINE.numpy()[:3, 0]
    motion = write_arrays(here / "motion.npz", estimate(poses))
    found = done(ResampleSeries(in_files=files, motion=motion, repetition_time=3.5, device="cpu"))
    for path, raw in zip(found.out_files, (data, data // 2), strict=True):
        image = nib.load(path)
        assert image.header.get_zooms()[3] == pytest.approx(3.5)
        np.testing.assert_allclose(image.dataobj[4:-4, ..., 2], raw[4:-4, ..., 0], atol=1)
    assert found.first == found.out_files[0]
    similarity = json.loads(Path(found.similarity).read_text())
    assert similarity["before"][2] < 0.9
    assert similarity["after"][2] > 0.99


def test_ratios_are_of_frames_to_believe(bold, here):
    data = study.frames(1)
    poses = np.tile(np.eye(4), (study.FRAMES, 1, 1))
    status = np.full(study.FRAMES, "ok", dtype="<U8")
    status[7:] = "bridged"
    motion = write_arrays(here / "motion.npz", estimate(poses, status=status))
    found = done(ResampleSeries(in_files=[bold], motion=motion, dummy_scans=2, device="cpu"))
    kept = data[..., 2:7].astype(float)
    expected = kept.mean(-1) / np.maximum(kept.std(-1, ddof=1), 1e-9)
    np.testing.assert_allclose(
        nib.load(found.tsnr_before).get_fdata(), expected * (kept.std(-1) > 0), rtol=1e-4
    )


def test_a_report_warns_of_lost_frames(here, monkeypatch):
    record = make_record(here / "data", frames=6)
    status = np.array(["ok", "ok", "lost", "ok", "lost", "ok"])
    poses = np.tile(np.eye(4), (6, 1, 1))
    poses[3:, 0, 3] = 12
    motion = estimate(poses, status=status)
    moved = write_arrays(here / "motion.npz", motion)
    columns = [f"{name}{end}" for name in MOTION_NAMES for end in ("", "_sd")]
    columns += ["framewise_displacement", "framewise_displacement_corrected", "censor"]
    table = {name: np.zeros(6) for name in columns}
    table["censor_uncorrected"] = np.array([0, 0, 1, 0, 1, 1])
    write_table(here / "confounds.tsv", table)
    (here / "similarity.json").write_text(json.dumps({"before": [1] * 6, "after": [1] * 6}))
    drawn = []
    monkeypatch.setattr(
        "unimo_bids.reports.drawing.draw_run", lambda record, _: drawn.append(record) or []
    )
    volumes = ("original", "corrected", "boldref", "mask", "probability")
    DrawRun(
        **{name: getattr(record, name) for name in (*volumes, "tsnr_before", "tsnr_after")},
        **{name: here / f"{name}.{kind}" for name, kind in
           (("confounds", "tsv"), ("similarity", "json"))},
        motion=moved,
        **{"entities": "sub-01_task-rest", "fd_radius": 50.0, "fd_threshold": 0.5},
        **{"facts": {}, "series_warnings": ["Found."], "brain_warnings": []},
        **{"brain_method": "neural networks", "population": "fetal", "device_used": "CPU"},
        about_brain={"BrainCenter": "1,2,3", "BrainCenterSource": "--brain-center"},
        known_warnings=["Known before."],
    ).run()  # fmt: skip
    said = "2 of 6 frames could not be registered (2, 4): do not use them."
    assert drawn[0].warnings == ["Known before.", "Found.", said]
    assert drawn[0].facts["Brain"].startswith("neural networks about 1,2,3 (--brain-center), rad")
    assert drawn[0].facts["Largest move"] == "12.00 mm (frames 1 to 3, across lost ones)"
    assert drawn[0].numbers["largest_move"] == 12 and drawn[0].numbers["fd_max"] == 0
    assert drawn[0].numbers["uncorrected_percent"] == 50

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

from unimo_bids.qc import framewise_displacement
from unimo_bids.qc.columns import describe_columns
from unimo_bids.qc.confounds import (
    MOTION_NAMES,
    UNKNOWN_STEP_MM,
    ConfoundSettings,
    Move,
    auto_fd_radius,
    confounds_table,
    largest_move,
)
from unimo_bids.qc.dvars import SeriesSignals
from unimo_bids.spatial import rigid

CENTER = np.array([4.0, -12.0, 30.0])
FRAMES = 120
SUFFIXES = ("", "_derivative1", "_power2", "_derivative1_power2")


def poses_of(rotation, translation):
    parts = (torch.as_tensor(np.asarray(part, dtype=float)) for part in (rotation, translation))
    return rigid.from_parameters(*parts, torch.as_tensor(CENTER)).numpy()


def wandering(frames=FRAMES, seed=0, size=1.0):
    """Poses of a head that moves a little: steps of about 0.05 mm and 0.0005 rad."""
    random = np.random.default_rng(seed)
    rotation = np.cumsum(random.normal(0, 0.0005 * size, (frames, 3)), axis=0)
    translation = np.cumsum(random.normal(0, 0.05 * size, (frames, 3)), axis=0)
    return poses_of(rotation, translation)


def still_signals(frames=FRAMES, seed=0):
    random = np.random.default_rng(seed)
    std = np.concatenate([[np.nan], random.normal(1, 0.05, frames - 1)])
    return SeriesSignals(random.normal(900, 3, frames), 20 * std, std, np.ones(frames))


def table_of(poses=None, *, status=None, signals=None, settings=None, **changes):
    poses = wandering() if poses is None else poses
    frames = len(poses)
    given = {
        "covariance": np.tile(np.diag([1e-8] * 3 + [1e-4] * 3), (frames, 1, 1)),
        "center": CENTER,
        "status": np.array(["ok"] * frames if status is None else status),
        "similarity": np.full(frames, 0.99),
        "signals": still_signals(frames) if signals is None else signals,
        "remaining": np.full(frames, 0.02),
        "repetition_time": 2.0,
        "settings": settings,
    } | changes
    return confounds_table(poses, **given)


def status_with(**frames):
    status = np.array(["ok"] * FRAMES, dtype="<U8")
    for name, places in frames.items():
        status[places] = name
    return status


def test_expansions():
    table = table_of()
    for name in ("global_signal", *MOTION_NAMES):
        values = pd.Series(table[name])
        for suffix, expected in zip(
            SUFFIXES[1:], (values.diff(), values**2, values.diff() ** 2), strict=True
        ):
            np.testing.assert_allclose(table[f"{name}{suffix}"], expected, atol=1e-15)


@pytest.mark.parametrize("radius", [50.0, 21.0])
def test_framewise_displacement_as_nipype(tmp_path, radius):
    from nipype.algorithms.confounds import FramewiseDisplacement

    table = table_of(wandering(size=40), settings=ConfoundSettings(fd_radius=radius))
    np.savetxt(tmp_path / "motion.txt", np.stack([table[name] for name in MOTION_NAMES], axis=1))
    FramewiseDisplacement(
        in_file=str(tmp_path / "motion.txt"),
        parameter_source="SPM",
        radius=radius,
        out_file=str(tmp_path / "fd.txt"),
    ).run(cwd=str(tmp_path))
    found = table["framewise_displacement"]
    np.testing.assert_allclose(found[1:], np.loadtxt(tmp_path / "fd.txt", skiprows=1), rtol=1e-9)
    assert np.isnan(found[0])


@pytest.mark.parametrize(
    ("frames", "seconds", "skipped"),
    [(120, 2.0, 0), (300, 0.8, 4), (320, 2.0, 0), (1200, 0.72, 10), (64, 2.0, 0), (20, 2.0, 3)],
)
def test_cosines_as_nipype(frames, seconds, skipped):
    from nipype.algorithms.confounds import cosine_filter

    table = table_of(wandering(frames), repetition_time=seconds, non_steady=skipped)
    found = [column for name, column in table.items() if name.startswith("cosine")]
    steady = np.random.default_rng(0).normal(size=(1, frames - skipped))
    expected = cosine_filter(steady, seconds, 128)[1]
    assert len(found) == (expected.shape[1] if expected.size else 0)
    for column, theirs in zip(found, expected.T, strict=False):
        np.testing.assert_array_equal(column[:skipped], 0)
        np.testing.assert_allclose(column[skipped:], theirs, atol=1e-9)


def test_no_cosines_without_a_repetition_time_or_steady_frames():
    for changes in ({"repetition_time": None}, {"non_steady": FRAMES}, {"non_steady": FRAMES + 3}):
        assert not [name for name in table_of(**changes) if name.startswith("cosine")]


def test_one_column_per_outlier():
    poses = wandering()
    poses[50:] = poses[50:] @ poses_of([0, 0, 0], [0.6, 0, 0])
    signals = still_signals()
    signals.std_dvars[[0, 70]] = np.nan, 1.6
    table = table_of(
        poses, status=status_with(bridged=[20], searched=[90]), signals=signals, non_steady=2
    )
    outliers = np.stack([table[f"motion_outlier{i:02d}"] for i in range(3)])
    assert "motion_outlier03" not in table
    np.testing.assert_array_equal(np.argwhere(outliers), [[0, 20], [1, 50], [2, 70]])
    np.testing.assert_array_equal(outliers.sum(axis=1), 1)
    np.testing.assert_array_equal(np.flatnonzero(table["censor"]), [0, 1, 20, 50, 70])
    for i in range(2):
        np.testing.assert_array_equal(np.flatnonzero(table[f"non_steady_state_outlier{i:02d}"]), i)


def test_what_was_undone_is_no_reason_to_leave_a_frame_out():
    poses = wandering(size=100)  # 5 mm from frame to frame
    signals, remaining = still_signals(), np.full(FRAMES, 0.02)
    signals.std_dvars[70], remaining[[0, 30]] = 1.6, (np.nan, 0.6)
    signals.coverage[[40, 45]] = 0.85, 0.95
    status = status_with(bridged=[20], lost=[25], searched=[90])
    table = table_of(poses, status=status, signals=signals, remaining=remaining, non_steady=2)
    assert table["censor"][3:].mean() > 0.9
    np.testing.assert_array_equal(
        np.flatnonzero(table["censor_uncorrected"]), [0, 1, 20, 25, 30, 40, 70]
    )


def test_thresholds_are_those_set():
    signals = still_signals()
    signals.std_dvars[30] = 1.4
    poses = wandering()
    poses[60:] = poses[60:] @ poses_of([0, 0, 0], [0.3, 0, 0])
    assert not table_of(poses, signals=signals)["censor"].any()
    strict = ConfoundSettings(fd_threshold=0.25, dvars_threshold=1.35)
    censor = table_of(poses, signals=signals, settings=strict)["censor"]
    assert censor[[30, 60]].all()


def test_a_lost_frame_is_finite_flagged_and_left_out():
    rest = table_of()
    poses = wandering()
    poses[40] = poses_of([3, 0.2, 0], [60, 0, 0])  # a wild guess
    status = status_with(lost=[40, 119])
    table = table_of(poses, status=status)
    for name in MOTION_NAMES:
        assert np.isfinite(table[name]).all()
        np.testing.assert_allclose(np.delete(table[name], 40), np.delete(rest[name], 40))
    for measure in ("framewise_displacement", "rmsd"):
        # into and out of 40, into 119; across the gap it is known to be small
        np.testing.assert_array_equal(
            np.flatnonzero(table[measure] >= UNKNOWN_STEP_MM), [40, 41, 119]
        )
        known = [t for t in range(FRAMES) if t not in (40, 41, 119)]
        np.testing.assert_allclose(table[measure][known], rest[measure][known])
    np.testing.assert_array_equal(np.flatnonzero(table["censor"]), [40, 41, 119])
    np.testing.assert_array_equal(
        np.flatnonzero(np.isnan(table["trans_x_sd"])), np.flatnonzero(status == "lost")
    )


def test_a_large_move_across_a_lost_frame_keeps_its_length():
    poses = wandering()
    poses[41:] = poses[41:] @ poses_of([0, 0, 0], [25, 0, 0])
    table = table_of(poses, status=status_with(lost=[40]))
    expected = framewise_displacement(np.delete(poses, 40, axis=0), CENTER)[40]
    assert expected > 20
    assert table["framewise_displacement"][41] == pytest.approx(expected)


def test_a_lost_frame_does_not_turn_those_after_it():
    """Beyond half a turn the branch of the rotation vector comes from the good frames alone."""
    angle = np.linspace(0, 1.4 * np.pi, FRAMES)
    poses = poses_of(angle[:, None] * [0, 0, 1.0], np.zeros((FRAMES, 3)))
    poses[100] = poses_of([3, 0, 0], [0, 0, 0])
    table = table_of(poses, status=status_with(lost=[100]))
    np.testing.assert_allclose(np.delete(table["rot_z"], 100), np.delete(angle, 100), atol=1e-9)


@pytest.mark.parametrize("lost", [[0], [0, 1, 2], list(range(FRAMES))])
def test_lost_from_the_start_or_altogether(lost):
    table = table_of(status=status_with(lost=lost))
    assert all(np.isfinite(table[name]).all() for name in MOTION_NAMES)
    displacement = table["framewise_displacement"]
    assert np.isnan(displacement[0]) and np.isfinite(displacement[1:]).all()
    assert table["censor"][lost].all()


def test_deviations_are_those_of_the_columns():
    covariance = np.diag([1e-6, 4e-6, 9e-6, 0.01, 0.04, 0.09])
    table = table_of(np.tile(np.eye(4), (5, 1, 1)), covariance=np.tile(covariance, (5, 1, 1)))
    found = [table[f"{name}_sd"][3] for name in MOTION_NAMES]
    np.testing.assert_allclose(found, [0.1, 0.2, 0.3, 0.001, 0.002, 0.003])


def crowded_table(settings=None):
    """A table with every kind of column."""
    signals = still_signals()
    signals.std_dvars[70] = 3
    return table_of(
        status=status_with(lost=[40], bridged=[20]),
        signals=signals,
        settings=settings,
        non_steady=2,
    )


def test_every_column_is_explained():
    settings = ConfoundSettings(fd_radius=21, fd_threshold=0.9, dvars_threshold=2.2)
    table = crowded_table(settings)
    described = describe_columns(table, settings)
    assert list(described) == list(table)
    json.dumps(described, allow_nan=False)
    for name, what in described.items():
        assert len(what["Description"]) > 20 and what["Description"].endswith("."), name
        assert "Units" in what or "Levels" in what, name
    assert set(described["motion_status"]["Levels"]) == {"ok", "searched", "bridged", "lost"}
    assert described["trans_x"]["Units"] == "mm" and described["rot_y"]["Units"] == "rad"
    assert described["rot_y_derivative1_power2"]["Units"] == "rad^2"
    assert described["framewise_displacement"]["Threshold"] == 0.9
    assert described["framewise_displacement"]["Radius"] == 21
    assert described["rmsd"]["Radius"] == pytest.approx(33.6)
    assert described["std_dvars"]["Threshold"] == 2.2


def test_the_largest_move_is_found_across_lost_frames():
    poses = np.tile(np.eye(4), (6, 1, 1))
    poses[2:, 0, 3] = 0.5
    poses[3, 1, 3] = 99.0  # a guess
    poses[4:, 2, 3] = 20.0
    lost = np.array([False, False, False, True, False, False])
    move = largest_move(poses, np.zeros(3), 50.0, lost)
    assert move == Move(20.0, 2, 4)
    assert str(move) == "20.00 mm (frames 2 to 4, across lost ones)"
    assert str(largest_move(poses[:3], np.zeros(3), 50.0, lost[:3])) == "0.50 mm (frames 1 to 2)"
    for lost in (np.ones(6, bool), np.arange(6) != 4):
        assert largest_move(poses, np.zeros(3), 50.0, lost) is None


def test_radius_in_proportion_to_the_brain():
    assert auto_fd_radius(70.0) == 50
    assert auto_fd_radius(29.0) == pytest.approx(20.7, abs=0.05)

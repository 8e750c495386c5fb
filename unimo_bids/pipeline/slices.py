"""Slices of one file: when they were acquired, where they were, and the frames they make."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unimo_bids.errors import InputError
from unimo_bids.files.series import Series
from unimo_bids.files.tables import write_table
from unimo_bids.files.writing import SeriesWriter, write_volume
from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.motion.slices.estimation import SliceMotion, correct_slices, estimate_slices
from unimo_bids.motion.slices.trajectory import SliceTimes
from unimo_bids.qc.confounds import MOTION_NAMES, finite_parameters

_AXES = {"i": 0, "j": 1, "k": 2}
_REMEDY = "correct the file, or leave --slice-timing out"


def read_slice_times(path: Path, series: Series) -> SliceTimes:
    """Read ``SliceTiming``, ``SliceEncodingDirection`` and ``RepetitionTime`` of a BIDS sidecar."""
    try:
        sidecar = json.loads(path.read_text())
        times = np.array(sidecar["SliceTiming"], dtype=np.float64)
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", _REMEDY) from error
    except (ValueError, TypeError, KeyError) as error:
        finding = "holds no SliceTiming, a list of seconds"
        raise InputError(path, finding, _REMEDY) from error
    direction = str(sidecar.get("SliceEncodingDirection", "k"))
    if direction.removesuffix("-") not in _AXES:
        finding = f"SliceEncodingDirection {direction!r} is none of i, j, k, i-, j-, k-"
        raise InputError(path, finding, _REMEDY)
    axis = _AXES[direction[0]]
    if times.ndim != 1 or len(times) != series.shape[axis]:
        finding = f"has {times.size} slice times for {series.shape[axis]} slices"
        raise InputError(path, finding, _REMEDY)
    repetition = sidecar.get("RepetitionTime", series.repetition_time)
    if not isinstance(repetition, int | float) or not repetition > 0:
        raise InputError(path, "gives no RepetitionTime, nor does the header", _REMEDY)
    if not np.isfinite(times).all() or times.min() < 0 or times.max() >= repetition:
        finding = f"has slice times outside 0 … {repetition:g} s, the repetition time"
        raise InputError(path, finding, _REMEDY)
    if np.ptp(times) == 0:
        raise InputError(path, "says that all slices were acquired at once", _REMEDY)
    return SliceTimes(axis, times[::-1].copy() if direction.endswith("-") else times, repetition)


def write_slices(
    series: Series, motion: MotionEstimate, times: SliceTimes, places: Mapping[str, Path]
) -> dict[str, Any]:
    """Estimate where slices were; write them, the frames they make and their coverage.

    Returns what is to be said in the summary.

    Parameters
    ----------
    places
        Of ``slices`` (table), ``rebuilt`` and ``coverage`` (per cent).
    """
    slices = estimate_slices(series, series.affine, motion, times)
    write_table(places["slices"], slice_columns(slices))
    coverage = np.empty(series.shape, dtype=np.uint8, order="F")
    with SeriesWriter(places["rebuilt"], series) as writer:
        for t, (frame, covered) in enumerate(correct_slices(series, series.affine, motion, slices)):
            writer.append(frame)
            coverage[..., t] = np.rint(100 * covered)
    write_volume(places["coverage"], coverage, series)
    within = slices.within_frames(motion.radius)
    return {
        "within_frame_mm": {
            "median": round(float(np.median(within)), 3),
            "max": round(float(within.max()), 3),
        },
        "explained": int(slices.explained.sum()),
        "whole": np.flatnonzero(slices.whole).tolist(),
        "saved": np.flatnonzero(slices.explained & (motion.status == "lost")).tolist(),
    }


def slice_columns(slices: SliceMotion) -> dict[str, NDArray[np.generic]]:
    """Pose of every slice at its time, as `MOTION_NAMES`; those of a frame in order of time."""
    frames, many = slices.gains.shape
    order = np.argsort(slices.times.offsets, kind="stable")
    poses = slices.poses[:, order].reshape(-1, 4, 4)
    nowhere_lost = np.zeros(len(poses), dtype=bool)
    parameters = finite_parameters(poses, slices.trajectory.center.numpy(), nowhere_lost)
    begun = np.arange(frames) * slices.times.repetition_time
    return {
        "time": (begun[:, None] + slices.times.offsets[order]).ravel(),
        "frame": np.repeat(np.arange(frames), many),
        "slice": np.tile(order, frames),
        **dict(zip(MOTION_NAMES, parameters.T, strict=True)),
        "gain": slices.gains[:, order].ravel(),
    }

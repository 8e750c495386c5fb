"""Slices of one file: when they were acquired, where they were, and the frames they make."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
from unimo_bids.motion.slices.timing import slice_times
from unimo_bids.motion.slices.trajectory import SliceTimes
from unimo_bids.qc.confounds import MOTION_NAMES, finite_parameters
from unimo_bids.words import Slices

_REMEDY = "correct the file, or leave --slice-timing out"
_VOLUME_WISE = "Slices were not followed, every frame has one pose: {}."


def read_slice_times(path: Path, series: Series) -> SliceTimes:
    """Read ``SliceTiming``, ``SliceEncodingDirection`` and ``RepetitionTime`` of a BIDS sidecar.

    A file that cannot be read is refused; times that cannot be are a `ValueError`.
    """
    try:
        sidecar = json.loads(path.read_text())
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", _REMEDY) from error
    except ValueError as error:
        raise InputError(path, "is no JSON", _REMEDY) from error
    if not isinstance(sidecar, dict):
        raise InputError(path, "is no JSON object", _REMEDY)
    repetition = sidecar.get("RepetitionTime", series.repetition_time)
    if not isinstance(repetition, int | float):
        repetition = None
    return series_slice_times(sidecar, series, repetition)


def series_slice_times(
    metadata: Mapping[str, Any], series: Series, repetition_time: float | None
) -> SliceTimes:
    """Slice times of a series, by metadata and header; a `ValueError` where they cannot be."""
    header_axis = series.header.get_dim_info()[2]
    return slice_times(metadata, series.shape, repetition_time, header_axis)


def volume_wise(why: ValueError | str) -> str:
    """Warn that frames keep one pose each."""
    return _VOLUME_WISE.format(str(why).rstrip("."))


def write_slices(
    series: Series,
    motion: MotionEstimate,
    times: SliceTimes,
    places: Mapping[str, Path],
    mode: Slices = "on",
) -> dict[str, Any]:
    """Estimate where slices were; write them, the frames they make and their coverage.

    Returns what is to be said in the summary.

    Parameters
    ----------
    places
        Of ``slices`` (table), ``rebuilt`` and ``coverage`` (per cent); the latter are written where
        that is worth it, or with `mode` ``on``.
    """
    slices = estimate_slices(series, series.affine, motion, times)
    write_table(places["slices"], slice_columns(slices))
    rebuilt = mode == "on" or slices.worth(motion)
    if rebuilt:
        frames = Rebuilt(series, slices.poses, slices.gains, times.axis)
        with SeriesWriter(places["rebuilt"], series) as writer:
            for frame in frames:
                writer.append(frame)
        write_volume(places["coverage"], frames.coverage, series)
    within = slices.within_frames(motion.radius)
    return {
        "within_frame_mm": {
            "median": round(float(np.median(within)), 3),
            "max": round(float(within.max()), 3),
        },
        "explained": int(slices.explained.sum()),
        "whole": np.flatnonzero(slices.whole).tolist(),
        "saved": np.flatnonzero(slices.saved(motion.status)).tolist(),
        "rebuilt": rebuilt,
    }


@dataclass(frozen=True, eq=False)
class SliceResult:
    """What later steps need to know of T frames of S slices.

    Attributes
    ----------
    axis
        Of the slices.
    times
        ``(S,)`` s after a frame began.
    poses, gains
        ``(T, S, 4, 4)``, reference → slice, and ``(T, S)``.
    within_max, within_rms
        ``(T,)`` mm on the head's surface: between two slices, and about their mean place.
    saved, whole
        ``(T,)`` frames that only slices explain; frames that keep one pose.
    """

    axis: int
    times: NDArray[np.float64]
    poses: NDArray[np.float64]
    gains: NDArray[np.float64]
    within_max: NDArray[np.float64]
    within_rms: NDArray[np.float64]
    saved: NDArray[np.bool_]
    whole: NDArray[np.bool_]

    @classmethod
    def of(cls, slices: SliceMotion, motion: MotionEstimate) -> SliceResult:
        """From the estimates by slices and by frames."""
        return cls(
            slices.times.axis,
            slices.times.offsets,
            slices.poses,
            slices.gains,
            slices.within_frames(motion.radius),
            slices.rms_within_frames(motion.radius),
            slices.saved(motion.status),
            slices.whole,
        )


class Rebuilt:
    """Frames made from slices, and on the way how well these covered them.

    Attributes
    ----------
    coverage
        ``(X, Y, Z, T)`` uint8, per cent, of the frames that have been made.
    """

    def __init__(
        self,
        series: Series,
        poses: NDArray[np.float64],
        gains: NDArray[np.float64],
        axis: int,
    ) -> None:
        self.coverage = np.zeros(series.shape, dtype=np.uint8, order="F")
        self._made = correct_slices(series, series.affine, poses, gains, axis)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Frames ``(X, Y, Z)``, one after the other."""
        for t, (frame, covered) in enumerate(self._made):
            self.coverage[..., t] = np.rint(100 * covered)
            yield frame


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
        "sd": slices.deviations[:, order].ravel(),
        "gain": slices.gains[:, order].ravel(),
    }


def describe_slices() -> dict[str, dict[str, Any]]:
    """Explain every column of the table of slices, for its JSON sidecar."""
    columns: dict[str, dict[str, Any]] = {
        "time": {"Description": "Of the slice, from the start of the series.", "Units": "s"},
        "frame": {"Description": "Number of the frame, counted from 0."},
        "slice": {"Description": "Index of the slice along its axis, counted from 0."},
        "sd": {
            "Description": "Standard deviation of the pose: displacement of the head's surface,"
            " root mean square.",
            "Units": "mm",
        },
        "gain": {"Description": "Intensity of the slice relative to its frame's.", "Units": "1"},
    }
    for name in MOTION_NAMES:
        kind, axis = name.split("_")
        what = "Translation of the brain's centre along" if kind == "trans" else "Rotation about"
        columns[name] = {
            "Description": f"{what} {axis} (RAS), from the reference to the slice.",
            "Units": "mm" if kind == "trans" else "rad",
        }
    return columns

"""Slices of one file: when they were acquired, where they were, and the frames they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unimo_bids.files.objects import read_object
from unimo_bids.files.series import Series
from unimo_bids.files.tables import write_table
from unimo_bids.files.writing import SeriesWriter, write_volume
from unimo_bids.motion.correction import Then
from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.motion.slices.history import Excitation, usual_t1
from unimo_bids.motion.slices.timing import slice_times
from unimo_bids.motion.slices.trajectory import SliceTimes
from unimo_bids.pipeline.rebuilt import Rebuilt, SliceResult
from unimo_bids.qc.columns import described
from unimo_bids.qc.confounds import MOTION_NAMES, finite_parameters
from unimo_bids.spatial.warp import Warp
from unimo_bids.words import Slices

if TYPE_CHECKING:
    from unimo_bids.motion.slices.estimation import SliceMotion

_REMEDY = "correct the file, or leave --slice-timing out"
_LARGEST_FLIP = 90.0  # degrees: an inversion has another history
_OTHER_ORDER = (
    "Slices would be clearly better explained in another order than SliceTiming has: {} (counted "
    "from 0 along the file's axis). It was not changed: look at it and at SliceEncodingDirection."
)
_VOLUME_WISE = "Slices were not followed, every frame has one pose: {}."


def read_slice_times(path: Path, series: Series) -> SliceTimes:
    """Read ``SliceTiming``, ``SliceEncodingDirection`` and ``RepetitionTime`` of a BIDS sidecar.

    A file that cannot be read is refused; times that cannot be are a `ValueError`.
    """
    sidecar = read_object(path, _REMEDY)
    repetition = sidecar.get("RepetitionTime", series.repetition_time)
    if not isinstance(repetition, int | float):
        repetition = None
    return series_slice_times(sidecar, series, repetition)


def slices_to_follow(
    sidecar: Path | None, series: Series, mode: Slices, intensity_correction: bool
) -> tuple[SliceTimes | None, Excitation | None, list[str]]:
    """Times and excitation of slices, and warnings where slices cannot be followed."""
    if sidecar is None or mode == "off":
        return None, None, []
    try:
        times = read_slice_times(sidecar, series)
    except ValueError as why:
        return None, None, [volume_wise(why)]
    if not intensity_correction:
        return times, None, []
    return times, *excitation_of(read_object(sidecar, _REMEDY), times.repetition_time)


def series_slice_times(
    metadata: Mapping[str, Any], series: Series, repetition_time: float | None
) -> SliceTimes:
    """Slice times of a series, from metadata and header; `ValueError` if they are impossible."""
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
    excitation: Excitation | None = None,
    evenly: Callable[[Sequence[Warp]], Then | None] = lambda _warps: None,
    receive: bool = False,
) -> tuple[dict[str, Any], list[str]]:
    """Estimate the poses of slices; write them, the frames made of them, and their coverage.

    Returns what is to be said in the summary, and warnings.

    Parameters
    ----------
    places
        Of ``slices`` (table), ``rebuilt`` and ``coverage`` (per cent); the latter are written where
        that is worth it, or with `mode` ``on``.
    excitation
        To remove spin history; None leaves it.
    evenly
        What interpolates frames in time, given where the reference is in each.
    receive
        To remove the coils' gain, which the head moves through.
    """
    from unimo_bids.motion.slices.estimation import estimate_slices  # few calls need it

    slices = estimate_slices(series, series.affine, motion, times, excitation)
    write_table(places["slices"], slice_columns(slices))
    rebuilt = mode == "on" or slices.worth(motion)
    brightness: dict[str, Any] = {}
    if rebuilt:
        found = SliceResult.of(slices, motion, excitation, receive=receive)
        frames = Rebuilt(series, series.grid, found, motion)
        then = evenly(found.warps(series.grid))
        good = motion.registered | slices.saved(motion.status)
        with SeriesWriter(places["rebuilt"], series) as writer:
            for frame in frames if then is None else then(iter(frames), good):
                writer.append(frame)
        write_volume(places["coverage"], frames.coverage, series)
        brightness = frames.about_brightness()
    within = slices.within_frames(motion.radius)
    facts = {
        "within_frame_mm": {
            "median": round(float(np.median(within)), 3),
            "max": round(float(within.max()), 3),
        },
        "explained": int(slices.explained.sum()),
        "whole": np.flatnonzero(slices.whole).tolist(),
        "saved": np.flatnonzero(slices.saved(motion.status)).tolist(),
        "rebuilt": rebuilt,
        "spin_history": brightness.get("SpinHistory", {}),
        "receive_field": brightness.get("ReceiveField", {}),
    }
    return facts, order_warnings(slices)


def order_warnings(slices: SliceMotion) -> list[str]:
    """Warn if another order of the slices would explain them better."""
    return [_OTHER_ORDER.format(slices.other_order)] if slices.other_order else []


def excitation_of(
    metadata: Mapping[str, Any], repetition_time: float
) -> tuple[Excitation | None, list[str]]:
    """Parameters of spin history from ``FlipAngle`` and ``MagneticFieldStrength``, or why none."""
    angle, field = (metadata.get(name) for name in ("FlipAngle", "MagneticFieldStrength"))
    if not isinstance(angle, int | float) or not 0 < angle <= _LARGEST_FLIP:
        return None, ["Spin history was not looked at: no FlipAngle of up to 90 degrees is known."]
    known = isinstance(field, int | float) and field > 0
    return Excitation(float(angle), usual_t1(field if known else None), repetition_time), []


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
    columns = {
        "time": described("Of the slice, from the start of the series.", "s"),
        "frame": described("Number of the frame, counted from 0."),
        "slice": described("Index of the slice along its axis, counted from 0."),
        "sd": described(
            "Standard deviation of the pose: displacement of the head's surface, root mean square.",
            "mm",
        ),
        "gain": described("Intensity of the slice relative to its frame's.", "1"),
    }
    for name in MOTION_NAMES:
        kind, axis = name.split("_")
        what = "Translation of the brain's centre along" if kind == "trans" else "Rotation about"
        text = f"{what} {axis} (RAS), from the reference to the slice."
        columns[name] = described(text, "mm" if kind == "trans" else "rad")
    return columns

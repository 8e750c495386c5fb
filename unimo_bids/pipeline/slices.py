"""Slices of one file: when they were acquired, where they were, and the frames they make."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from unimo_bids.errors import InputError
from unimo_bids.files.scratch import on_disk
from unimo_bids.files.series import Series
from unimo_bids.files.tables import write_table
from unimo_bids.files.writing import SeriesWriter, write_volume
from unimo_bids.motion.correction import Then
from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.motion.slices.history import IN_HEAD, Excitation, SpinHistory, usual_t1
from unimo_bids.motion.slices.timing import slice_times
from unimo_bids.motion.slices.trajectory import SliceTimes
from unimo_bids.qc.confounds import MOTION_NAMES, finite_parameters
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.resampling import resample
from unimo_bids.spatial.warp import SliceWise, Warp
from unimo_bids.words import Slices

if TYPE_CHECKING:
    from unimo_bids.motion.slices.brightness import HistoryFit
    from unimo_bids.motion.slices.estimation import SliceMotion

_REMEDY = "correct the file, or leave --slice-timing out"
_LARGEST_FLIP = 90.0  # degrees: an inversion has another history
_LEAST_SIGNAL = 0.3  # of that at rest: more than threefold nothing is raised
_VOLUME_WISE = "Slices were not followed, every frame has one pose: {}."


def read_slice_times(path: Path, series: Series) -> SliceTimes:
    """Read ``SliceTiming``, ``SliceEncodingDirection`` and ``RepetitionTime`` of a BIDS sidecar.

    A file that cannot be read is refused; times that cannot be are a `ValueError`.
    """
    sidecar = read_sidecar(path)
    repetition = sidecar.get("RepetitionTime", series.repetition_time)
    if not isinstance(repetition, int | float):
        repetition = None
    return series_slice_times(sidecar, series, repetition)


def slices_to_follow(
    sidecar: Path | None, series: Series, mode: Slices, intensity_correction: bool
) -> tuple[SliceTimes | None, Excitation | None, list[str]]:
    """When slices were acquired and how they were excited, and why they cannot be followed."""
    if sidecar is None or mode == "off":
        return None, None, []
    try:
        times = read_slice_times(sidecar, series)
    except ValueError as why:
        return None, None, [volume_wise(why)]
    if not intensity_correction:
        return times, None, []
    return times, *excitation_of(read_sidecar(sidecar), times.repetition_time)


def read_sidecar(path: Path) -> dict[str, Any]:
    """Read a BIDS sidecar."""
    try:
        sidecar = json.loads(path.read_text())
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", _REMEDY) from error
    except ValueError as error:
        raise InputError(path, "is no JSON", _REMEDY) from error
    if not isinstance(sidecar, dict):
        raise InputError(path, "is no JSON object", _REMEDY)
    return sidecar


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
    excitation: Excitation | None = None,
    evenly: Callable[[Sequence[Warp]], Then | None] = lambda _warps: None,
) -> dict[str, Any]:
    """Estimate where slices were; write them, the frames they make and their coverage.

    Returns what is to be said in the summary.

    Parameters
    ----------
    places
        Of ``slices`` (table), ``rebuilt`` and ``coverage`` (per cent); the latter are written where
        that is worth it, or with `mode` ``on``.
    excitation
        To remove spin history; None leaves it.
    evenly
        What interpolates frames in time, given where the reference is in each.
    """
    from unimo_bids.motion.slices.estimation import estimate_slices  # few calls need it

    slices = estimate_slices(series, series.affine, motion, times)
    write_table(places["slices"], slice_columns(slices))
    rebuilt = mode == "on" or slices.worth(motion)
    history: dict[str, Any] = {}
    if rebuilt:
        result = SliceResult.of(slices, motion, excitation)
        frames = Rebuilt(series, series.grid, result, motion)
        then = evenly(result.warps(series.grid))
        good = np.isin(motion.status, ("ok", "searched")) | slices.saved(motion.status)
        with SeriesWriter(places["rebuilt"], series) as writer:
            for frame in frames if then is None else then(iter(frames), good):
                writer.append(frame)
        write_volume(places["coverage"], frames.coverage, series)
        history = frames.about_history()
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
        "spin_history": history,
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
    flip_angle, t1, repetition_time
        Of `Excitation`; NaN where spin history is not to be looked at.
    """

    axis: int
    times: NDArray[np.float64]
    poses: NDArray[np.float64]
    gains: NDArray[np.float64]
    within_max: NDArray[np.float64]
    within_rms: NDArray[np.float64]
    saved: NDArray[np.bool_]
    whole: NDArray[np.bool_]
    flip_angle: float = np.nan
    t1: float = np.nan
    repetition_time: float = np.nan

    @property
    def excitation(self) -> Excitation | None:
        """What spin history depends on; None where it is not looked at."""
        known = np.isfinite(self.flip_angle)
        return Excitation(self.flip_angle, self.t1, self.repetition_time) if known else None

    def warps(self, grid: Grid) -> list[SliceWise]:
        """Where the reference is in each frame of a grid."""
        return [SliceWise(grid, self.axis, own) for own in torch.from_numpy(self.poses)]

    @classmethod
    def of(
        cls, slices: SliceMotion, motion: MotionEstimate, excitation: Excitation | None = None
    ) -> SliceResult:
        """From the estimates by slices and by frames."""
        about = {} if excitation is None else asdict(excitation)
        return cls(
            slices.times.axis,
            slices.times.offsets,
            slices.poses,
            slices.gains,
            slices.within_frames(motion.radius),
            slices.rms_within_frames(motion.radius),
            slices.saved(motion.status),
            slices.whole,
            **about,
        )


class Rebuilt:
    """Frames made from slices; on the way, how well these covered them, and what history explains.

    Attributes
    ----------
    coverage
        ``(X, Y, Z, T)`` uint8, per cent, of frames that have been made on the series' own grid.
    history
        How strong spin history is; None until frames are made, and where it is not looked at.
    history_rms
        ``(T,)`` change of the head's brightness by it, root mean square; NaN where unknown.
    """

    def __init__(
        self,
        series: Any,
        grid: Grid,
        slices: SliceResult,
        motion: MotionEstimate,
        *,
        onto: Grid | None = None,
        space: Warp | None = None,
    ) -> None:
        from unimo_bids.motion.slices.estimation import correct_slices

        self.coverage = np.zeros(series.shape if onto is None else 0, dtype=np.uint8, order="F")
        self.history: HistoryFit | None = None
        self.history_rms = np.full(series.shape[3], np.nan)
        self._slices, self._grid, self._onto, self._space = slices, grid, onto, space
        self._head = motion.mask.astype(np.float32)
        self._used = np.isin(motion.status, ("ok", "searched"))
        self._made = correct_slices(
            *(series, grid.affine.numpy(), slices.poses, slices.gains, slices.axis),
            onto=onto,
            space=space,
        )

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Frames ``(X, Y, Z)``, one after the other."""
        excitation = self._slices.excitation
        return self._from_slices() if excitation is None else self._evened(excitation)

    def _from_slices(self) -> Iterator[NDArray[np.float32]]:
        for t, (frame, covered) in enumerate(self._made):
            if self._onto is None:
                self.coverage[..., t] = np.rint(100 * covered)
            yield frame

    def _evened(self, excitation: Excitation) -> Iterator[NDArray[np.float32]]:
        """The same without spin history; all have to be made before its strength is known."""
        from unimo_bids.motion.slices.brightness import fit_history

        slices, head = self._slices, torch.from_numpy(self._head)
        weights = self._head_weights()
        inside = weights > IN_HEAD
        onto = self._onto or self._grid
        places = rigid.transform(onto.affine, torch.from_numpy(np.argwhere(inside)).double())
        if self._space is not None:
            places = self._space(places)
        poses = torch.from_numpy(slices.poses)
        history = SpinHistory(self._grid, slices.axis, slices.times, poses, excitation)
        frames, voxels = len(poses), len(places)
        made, signal, predicted = (
            on_disk((frames, *shape)) for shape in (inside.shape, (voxels,), (voxels,))
        )
        for t, frame in enumerate(self._from_slices()):
            made[t], signal[t] = frame, frame[inside]
            with torch.inference_mode():
                predicted[t] = history.at(t, head, places).numpy()
        self.history = fit = fit_history(signal, predicted, self._used)
        for t, frame in enumerate(made):
            if fit is not None:
                change = fit.change(predicted[t]) * weights[inside]
                self.history_rms[t] = np.sqrt(np.mean(np.square(change, dtype=np.float64)))
                if fit.worth:
                    frame[inside] /= np.maximum(1 + change, _LEAST_SIGNAL)
            yield np.array(frame)

    def _head_weights(self) -> NDArray[np.float32]:
        """Of the head, where frames are made."""
        if self._onto is None or self._space is None:
            return self._head
        head = torch.from_numpy(self._head)
        return resample(
            head, self._grid, self._space, onto=self._onto, interpolation="linear"
        ).numpy()

    def about_history(self) -> dict[str, Any]:
        """What was found of spin history, as JSON can hold it; nothing where it is unknown."""
        excitation = self._slices.excitation
        if self.history is None or excitation is None:
            return {}
        return {
            "FlipAngle": excitation.flip_angle,
            "T1": round(excitation.t1, 3),
            "Strength": round(self.history.common, 3),
            "ExplainedUnseen": round(self.history.explained, 4),
            "Removed": self.history.worth,
        }


def excitation_of(
    metadata: Mapping[str, Any], repetition_time: float
) -> tuple[Excitation | None, list[str]]:
    """What spin history depends on, by ``FlipAngle`` and ``MagneticFieldStrength``; or why not."""
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

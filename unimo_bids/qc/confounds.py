"""The confounds of a run as fMRIPrep names them, and which frames to leave out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from unimo_bids.qc.dvars import SeriesSignals
from unimo_bids.qc.framewise import (
    HEAD_RADIUS_MM,
    SPHERE_RADIUS_MM,
    covariance_of_motion,
    framewise_displacement,
    motion_parameters,
    parameter_covariance,
    rms_displacement,
)
from unimo_bids.qc.thresholds import COVERAGE

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Table = dict[str, npt.NDArray[Any]]

MOTION_NAMES = tuple(f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz")
ROTATIONS_FIRST = MOTION_NAMES[3:] + MOTION_NAMES[:3]  # as parameters are inside the program
CUTOFF_PERIOD_S = 128.0  # of the high-pass filter, as in SPM and fMRIPrep
# What a step into or out of a lost frame is said to be at least. Nobody knows its length, but those
# who leave frames out by displacement alone (nilearn, XCP-D) compare numbers, and NaN is never too
# large. No threshold in use comes near it.
UNKNOWN_STEP_MM = 10.0

TRANSLATIONS_FIRST = [3, 4, 5, 0, 1, 2]  # as fMRIPrep has them; `motion_parameters` last
_ADULT_BRAIN_RADIUS_MM = 70.0  # of a ball of 1.4 litres


@dataclass(frozen=True)
class ConfoundSettings:
    """What the confounds depend on besides the data.

    Attributes
    ----------
    fd_radius
        mm on the head's surface for a radian of rotation. The ball of `rmsd` is in proportion:
        80 mm for 50 mm.
    fd_threshold
        mm of framewise displacement above which a frame is an outlier.
    dvars_threshold
        Standardised DVARS above which a frame is an outlier.
    """

    fd_radius: float = HEAD_RADIUS_MM
    fd_threshold: float = 0.5
    dvars_threshold: float = 1.5

    @property
    def rmsd_radius(self) -> float:
        """mm, radius of the ball over which `rmsd` averages."""
        return self.fd_radius * SPHERE_RADIUS_MM / HEAD_RADIUS_MM


def auto_fd_radius(brain_radius_mm: float) -> float:
    """Radius for framewise displacement, in proportion to the brain.

    50 mm (Power et al. 2012) belong to an adult brain, whose volume is that of a ball of 70 mm; a
    fetal brain of 100 ml (29 mm) gets 21 mm.

    >>> auto_fd_radius(70)
    50.0
    """
    return HEAD_RADIUS_MM * brain_radius_mm / _ADULT_BRAIN_RADIUS_MM


def confounds_table(
    poses: Float64,
    covariance: Float64,
    center: Float64,
    *,
    status: npt.NDArray[np.str_],
    similarity: Float64,
    signals: SeriesSignals,
    remaining: Float64,
    repetition_time: float | None,
    non_steady: int = 0,
    settings: ConfoundSettings | None = None,
) -> Table:
    """Columns of the confounds table, in fMRIPrep's names and order, ours among the last.

    A frame is an outlier if it is bridged or lost, or if the displacement or standardised DVARS
    since the frame before is above its threshold. To be left out (`censor`) are outliers and the
    non-steady-state frames at the start. Displacement says how far a head moved, whether or not
    that could be undone; `censor_uncorrected` leaves out only what could not.

    All regressors are finite, save for the first row of derivatives (``n/a`` as in fMRIPrep;
    nilearn takes the second). A lost frame has the numbers of the pose at which it was resampled,
    the engine's guess. A step into or out of it counts as `UNKNOWN_STEP_MM` at least.

    Parameters
    ----------
    poses
        ``(T, 4, 4)`` RAS mm, reference → volume, finite in every frame.
    covariance
        ``(T, 6, 6)`` of rotation vector (rad) and translation (mm), as in `MotionEstimate`.
    center
        ``(3,)`` RAS mm, the middle of the brain.
    status
        ``(T,)`` of ok, searched, bridged, lost.
    similarity
        ``(T,)`` correlation with the template; NaN without image.
    signals
        Of the corrected series, within the brain.
    remaining
        ``(T,)`` framewise displacement of the corrected series, mm; NaN where it is not known.
    repetition_time
        Seconds. None (unknown, or frames not evenly spaced in time): no cosines.
    non_steady
        Frames at the start that are not in steady state.

    Returns columns ``(T,)`` by name: float64, 0/1 as int64, or str, as `describe_columns` has it.
    """
    settings = settings or ConfoundSettings()
    if not np.isfinite(poses).all():
        raise ValueError("every frame needs a finite pose")
    status = np.asarray(status)
    frames = len(poses)
    lost = status == "lost"
    displacement = finite_steps(framewise_displacement, poses, center, settings.fd_radius, lost)
    rmsd = finite_steps(rms_displacement, poses, center, settings.rmsd_radius, lost)
    parameters = finite_parameters(poses, center, lost)
    non_steady_state = np.arange(frames) < non_steady

    table = _with_expansions("global_signal", signals.global_signal)
    table |= {
        "std_dvars": signals.std_dvars,
        "dvars": signals.dvars,
        "framewise_displacement": displacement,
        "framewise_displacement_corrected": np.asarray(remaining, dtype=np.float64),
        "rmsd": rmsd,
    }
    table |= _numbered("cosine", _cosines(frames, repetition_time, non_steady))
    table |= _numbered("non_steady_state_outlier", _one_hot(non_steady_state))
    for name, column in zip(MOTION_NAMES, parameters.T, strict=True):
        table |= _with_expansions(name, column)
    deviations = parameter_deviations(poses, covariance, lost)
    table |= {f"{name}_sd": sd for name, sd in zip(MOTION_NAMES, deviations.T, strict=True)}
    table |= {"similarity": np.asarray(similarity, dtype=np.float64), "motion_status": status}
    outlier = np.array([bool(why) for why in outlier_reasons(table, settings)])
    table["censor"] = (outlier | non_steady_state).astype(np.int64)
    uncorrected = (
        non_steady_state
        | np.isin(status, ("bridged", "lost"))
        | (table["framewise_displacement_corrected"] > settings.fd_threshold)
        | (table["std_dvars"] > settings.dvars_threshold)
        | (signals.coverage < COVERAGE.least)
    )
    table["censor_uncorrected"] = uncorrected.astype(np.int64)
    return table | _numbered("motion_outlier", _one_hot(outlier))


def finite_parameters(poses: Float64, center: Float64, lost: Bool) -> Float64:
    """Translations and rotations ``(T, 6)``; a lost frame does not affect those after it."""
    parameters = np.empty((len(poses), 6))
    if not lost.all():
        parameters[~lost] = motion_parameters(poses[~lost], center)
    for t in np.flatnonzero(lost):
        parameters[t] = motion_parameters(poses[[t]], center)[0]
    return parameters[:, TRANSLATIONS_FIRST]


def finite_steps(
    measure: Callable[[Float64, Float64, float], Float64],
    poses: Float64,
    center: Float64,
    radius: float,
    lost: Bool,
) -> Float64:
    """Displacement ``(T,)`` mm since the frame before, NaN in the first.

    What is known is that between good frames, across lost ones too: a step out of a lost frame is
    given that length, and like one into it `UNKNOWN_STEP_MM` at least.
    """
    step = _known_steps(measure, poses, center, radius, lost)
    unknown = steps_beside(lost)
    step[unknown] = np.fmax(step[unknown], UNKNOWN_STEP_MM)
    step[0] = np.nan
    return step


def steps_beside(lost: Bool) -> Bool:
    """Steps ``(T,)`` into and out of lost frames, whose length nobody knows."""
    return np.asarray(lost | np.concatenate([[False], lost[:-1]]))


def _known_steps(
    measure: Callable[[Float64, Float64, float], Float64],
    poses: Float64,
    center: Float64,
    radius: float,
    lost: Bool,
) -> Float64:
    """Displacement ``(T,)`` mm since the good frame before, NaN in lost ones and in the first."""
    step = np.full(len(poses), np.nan)
    if not lost.all():
        step[~lost] = measure(poses[~lost], center, radius)
    return step


@dataclass(frozen=True)
class Move:
    """The way of the head from one frame to another, mm of framewise displacement."""

    mm: float
    before: int
    after: int

    def __str__(self) -> str:
        """With the frames, and whether any between them are lost."""
        across = ", across lost ones" if self.after - self.before > 1 else ""
        return f"{self.mm:.2f} mm (frames {self.before} to {self.after}{across})"


def largest_move(poses: Float64, center: Float64, radius: float, lost: Bool) -> Move | None:
    """Find the largest step from a good frame to the next, across lost ones too; None without any.

    Framewise displacement is silent about steps into and out of lost frames, where heads move most.
    """
    step = _known_steps(framewise_displacement, poses, center, radius, lost)
    if np.isnan(step).all():
        return None
    after = int(np.nanargmax(step))
    return Move(float(step[after]), int(np.flatnonzero(~lost[:after])[-1]), after)


def parameter_deviations(poses: Float64, covariance: Float64, lost: Bool) -> Float64:
    """Standard deviations ``(T, 6)`` of translations and rotations, NaN where lost."""
    variances = np.diagonal(parameter_covariance(poses, covariance), axis1=1, axis2=2)
    known = (variances >= 0) & ~lost[:, None]
    return np.sqrt(np.where(known, variances, np.nan))[:, TRANSLATIONS_FIRST]


def covariance_of_table(poses: Float64, table: Mapping[str, Float64]) -> Float64:
    """Covariance of an estimate from the standard deviations in its confounds, NaN where lost."""
    deviations = np.stack([table[f"{name}_sd"] for name in MOTION_NAMES], axis=1)
    return covariance_of_motion(poses, deviations[:, TRANSLATIONS_FIRST])  # swaps back as well


def _with_expansions(name: str, values: Float64) -> Table:
    """Values, change since the frame before, and the squares of both."""
    change = np.concatenate([[np.nan], np.diff(values)])
    return {
        name: values,
        f"{name}_derivative1": change,
        f"{name}_power2": values**2,
        f"{name}_derivative1_power2": change**2,
    }


def _cosines(frames: int, repetition_time: float | None, skipped: int) -> Float64:
    """Slow cosines of unit length ``(T, n)``, zero in the frames skipped at the start.

    ``x_k(t) = √(2/N) cos(π k (t + ½) / N)`` over N steady frames, for k below ``2 N TR / 128 s``.
    That is nipype's basis, and so fMRIPrep's; nilearn's and SPM's have one cosine more.
    """
    steady = frames - skipped
    if repetition_time is None or steady <= 0:
        return np.zeros((frames, 0))
    order = min(int(np.floor(2 * steady / CUTOFF_PERIOD_S * repetition_time)), steady)
    phase = np.pi * (np.arange(steady)[:, None] + 0.5) / steady
    basis = np.zeros((frames, max(order - 1, 0)))
    basis[skipped:] = np.sqrt(2 / steady) * np.cos(phase * np.arange(1, order))
    return basis


def _one_hot(chosen: Bool) -> npt.NDArray[np.int64]:
    """A column for each chosen frame ``(T, n)``."""
    return np.eye(len(chosen), dtype=np.int64)[:, chosen]


def _numbered(stem: str, columns: npt.NDArray[Any]) -> Table:
    return {f"{stem}{i:02d}": column for i, column in enumerate(columns.T)}


def outlier_reasons(
    table: Mapping[str, npt.NDArray[Any]], settings: ConfoundSettings
) -> list[list[str]]:
    """Why each frame is an outlier; empty for one that is not."""
    rows = zip(
        table["framewise_displacement"], table["std_dvars"], table["motion_status"], strict=True
    )
    reasons = []
    for displacement, dvars, status in rows:
        why = []
        if status in {"bridged", "lost"}:
            why.append(str(status))
        if displacement > settings.fd_threshold:
            why.append(f"framewise displacement above {settings.fd_threshold:g} mm")
        if dvars > settings.dvars_threshold:
            why.append(f"std_dvars above {settings.dvars_threshold:g}")
        reasons.append(why)
    return reasons

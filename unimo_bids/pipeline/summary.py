"""Numbers about a corrected series: the columns of its frames, and what is said of the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unimo_bids.files.series import Series
from unimo_bids.motion.correction import Comparison
from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.motion.quality import STATUSES, warnings_of
from unimo_bids.qc.confounds import (
    MOTION_NAMES,
    Move,
    finite_parameters,
    finite_steps,
    largest_move,
    parameter_deviations,
    steps_beside,
)
from unimo_bids.qc.framewise import framewise_displacement


def motion_columns(
    estimate: MotionEstimate, comparison: Comparison, fd_radius: float
) -> dict[str, NDArray[np.generic]]:
    """Motion of every frame; NaN where a frame is lost, as there is no pose to believe."""
    poses, center = estimate.poses, estimate.center
    status = np.asarray(estimate.status)
    lost = status == "lost"
    parameters = finite_parameters(poses, center, lost)
    parameters[lost] = np.nan
    displacement = finite_steps(framewise_displacement, poses, center, fd_radius, lost)
    displacement[steps_beside(lost)] = np.nan
    deviations = parameter_deviations(poses, estimate.covariance, lost)
    return {
        "frame": np.arange(len(poses)),
        **dict(zip(MOTION_NAMES, parameters.T, strict=True)),
        "framewise_displacement": displacement,
        **{f"{name}_sd": sd for name, sd in zip(MOTION_NAMES, deviations.T, strict=True)},
        "similarity": np.asarray(estimate.similarity, dtype=np.float64),
        "correlation_before": comparison.similarity[0],
        "correlation_after": comparison.similarity[1],
        "status": status,
    }


def correction_summary(
    series: Series,
    estimate: MotionEstimate,
    comparison: Comparison,
    columns: Mapping[str, NDArray[Any]],
    fd_radius: float,
) -> dict[str, Any]:
    """Results, as JSON can hold them."""
    status = np.asarray(estimate.status)
    counts = status.tolist()
    brain = np.asarray(estimate.mask) > 0.5
    tsnr = [_median(ratio[brain]) or None for ratio in comparison.tsnr()]  # 0: too few frames
    fd = columns["framewise_displacement"]
    fd = fd[np.isfinite(fd)]
    findings = [str(finding) for finding in estimate.findings]
    move = largest_move(estimate.poses, estimate.center, fd_radius, status == "lost")
    return {
        "shape": list(series.shape),
        "repetition_time_s": series.repetition_time,
        "mode": str(estimate.mode),
        "findings": findings,
        "reference": int(estimate.reference),
        "center_mm": [round(float(x), 3) for x in estimate.center],
        "warnings": [*series.warnings, *findings, *warnings_of(counts)],
        "frames": {word: counts.count(word) for word in STATUSES},
        "framewise_displacement_mm": {
            "mean": _rounded(fd.mean()) if fd.size else None,
            "max": _rounded(fd.max()) if fd.size else None,
            "radius": fd_radius,
        },
        "largest_move": None if move is None else asdict(move) | {"mm": _rounded(move.mm)},
        "tsnr_median": {"before": tsnr[0], "after": tsnr[1]},
    }


def in_words(summary: Mapping[str, Any]) -> list[str]:
    """Results in a few short phrases."""
    frames = ", ".join(f"{count} {word}" for word, count in summary["frames"].items() if count)
    fd, tsnr = summary["framewise_displacement_mm"], summary["tsnr_median"]
    phrases = [f"frames: {frames}"]
    if fd["mean"] is not None:
        phrases.append(f"FD {fd['mean']:.2f} mm")
    if summary["largest_move"] is not None:
        phrases.append(f"largest move {Move(**summary['largest_move'])}")
    if "slices" in summary:
        within = summary["slices"]["within_frame_mm"]
        phrases.append(
            f"within frames {within['median']:.2f} mm (median), {within['max']:.1f} mm (largest)"
        )
    if "distortion" in summary:
        phrases.append(summary["distortion"]["finding"])
    if None not in tsnr.values():
        phrases.append(f"median tSNR {tsnr['before']:.1f} → {tsnr['after']:.1f}")
    return phrases


def still_moving(displacement: NDArray[np.float64], threshold: float) -> list[str]:
    """Warn of frames ``(T,)`` that still move once corrected: their poses are wrong."""
    moving = np.flatnonzero(np.nan_to_num(displacement) > threshold)
    if not moving.size:
        return []
    listed = ", ".join(map(str, moving[:8])) + (", …" if moving.size > 8 else "")
    return [
        f"The corrected series still moves by up to {np.nanmax(displacement):.1f} mm (framewise "
        f"displacement; frames {listed}): check these poses in the movie before using them."
    ]


def run_numbers(
    status: NDArray[np.str_],
    fd_before: NDArray[np.float64],
    fd_after: NDArray[np.float64],
    tsnr: Sequence[float],
    censored: NDArray[np.bool_],
    uncorrected: NDArray[np.bool_],
) -> dict[str, float | int | None]:
    """One row of the table of all runs; None where there is no number."""
    fd, left = fd_before[np.isfinite(fd_before)], fd_after[np.isfinite(fd_after)]
    counts = status.tolist()
    return {
        "fd_mean": float(fd.mean()) if fd.size else None,
        "fd_median": float(np.median(fd)) if fd.size else None,
        "fd_max": float(fd.max()) if fd.size else None,
        "fd_after_mean": float(left.mean()) if left.size else None,
        # 0: too few frames to tell
        "tsnr_before": tsnr[0] or None,
        "tsnr_after": tsnr[1] or None,
        "tsnr_gain": tsnr[1] / tsnr[0] if tsnr[0] > 0 else None,
        "censored_percent": 100 * float(censored.mean()),
        "uncorrected_percent": 100 * float(uncorrected.mean()),
        "frames": len(counts),
        **{word: counts.count(word) for word in ("searched", "bridged", "lost")},
    }


def _median(values: NDArray[np.floating]) -> float | None:
    return _rounded(np.median(values)) if values.size else None


def _rounded(value: float | np.floating) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None

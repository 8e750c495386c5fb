"""One function a step: read → reference → brain → track → estimate.

Each takes what has been read, and refuses by the name of the file that is at fault.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unimo_bids.brain.advice import confidence
from unimo_bids.brain.head import refusing, unfit
from unimo_bids.brain.mask import BrainMask, given_brain, population_of_size
from unimo_bids.brain.run import SeriesBrain
from unimo_bids.devices import on_device
from unimo_bids.errors import InputError
from unimo_bids.files.series import Series, read_mask, read_series, read_volume
from unimo_bids.motion.estimate import MotionEstimate, Tracking
from unimo_bids.motion.estimation import estimate_motion, find_reference, track_motion
from unimo_bids.motion.frames import Preceded
from unimo_bids.motion.settings import MotionSettings
from unimo_bids.qc.steady_state import count_non_steady
from unimo_bids.words import Population

Report = Callable[[float, str], None]  # told the share done, and what is being done

_COUNTED = (
    "Where findings name frames, 0 is the reference that was scanned apart, and 1 the first frame "
    "of the series."
)


def read_echoes(
    paths: Sequence[str | Path], keep: Callable[[Series], None] = lambda _echo: None
) -> tuple[Series, list[str]]:
    """Read the first echo and check all; also returns what was repaired, a sentence each.

    `keep`: given every echo, one after the other: only the first stays in memory.
    """
    first, *others = paths
    series = read_series(first)
    keep(series)
    warnings = list(series.warnings)
    for path in others:
        echo = read_series(path)
        if echo.shape != series.shape:
            finding = f"this echo is {echo.shape}, the first one {series.shape}"
            raise InputError(path, finding, "convert the run again, or use --echo-idx")
        keep(echo)
        warnings += [warning for warning in echo.warnings if warning not in warnings]
    return series, warnings


def non_steady_frames(series: Series, dummy_scans: int | None = None) -> int:
    """Frames at the start that statistics leave out: as many as asked for, else detected."""
    if dummy_scans is None:
        return count_non_steady(series)
    if dummy_scans >= series.shape[3]:
        finding = f"--dummy-scans {dummy_scans} leaves none of its {series.shape[3]} frames"
        raise InputError(series.path, finding, "give fewer, or let them be detected")
    return dummy_scans


def check_reference(series: Series, frame: int) -> None:
    """Refuse a reference that is not there, or is empty."""
    remedy = "choose another --reference, or auto"
    if not 0 <= frame < series.shape[3]:
        finding = f"there is no frame {frame} (they are 0 to {series.shape[3] - 1})"
        raise InputError(series.path, finding, remedy)
    if frame in series.empty_frames:
        finding = f"frame {frame} is empty and cannot be the reference"
        raise InputError(series.path, finding, remedy)


def choose_reference(series: Series, wanted: int | Literal["auto"] = "auto") -> int:
    """Frame that poses are relative to: the one asked for, or a still one."""
    if wanted != "auto":
        check_reference(series, wanted)
        return wanted
    if series.shape[3] == 1:
        return 0
    with refusing(series.path):
        return find_reference(series, series.affine)


def read_brain(
    path: str | Path, series: Series, reference: int, population: Population | None = None
) -> SeriesBrain:
    """Take the brain from a mask file, 3D or one per frame."""
    mask = read_mask(path, series)
    of_reference = mask[..., reference] if mask.ndim == 4 else mask
    fault = unfit(of_reference > 0.5, series.affine)
    if fault is not None:
        which = "of the reference frame " if mask.ndim == 4 else ""
        remedy = "give a mask that covers the brain"
        raise InputError(path, f"the mask {which}{fault}", remedy)
    brain = given_brain(np.asarray(of_reference, dtype=np.float32), series.affine)
    return SeriesBrain(brain, population or population_of_size(brain.radius_mm))


def brain_facts(brain: BrainMask) -> dict[str, Any]:
    """How a brain was found, and other candidates, as JSON can hold them."""
    sure = confidence(brain)
    return {
        "method": brain.method,
        "doubts": list(brain.doubts),
        "confidence": None if sure is None else round(float(sure), 3),
        "candidates": [
            {
                "center_mm": [round(float(x), 1) for x in candidate.center],
                "volume_ml": round(float(candidate.volume), 1),
                "confidence": round(float(candidate.confidence), 3),
            }
            for candidate in brain.candidates
        ],
    }


@dataclass(frozen=True)
class Head:
    """A series, the mask of what moves with the head, and a reference scanned apart.

    Attributes
    ----------
    series
        The frames.
    mask
        ``(X, Y, Z)`` in the reference or ``(X, Y, Z, T)``; None for all that is not air.
    mask_file
        Where it was read, for refusals.
    apart
        ``(X, Y, Z)``, a reference that was scanned apart; None where it is a frame.
    """

    series: Series
    mask: NDArray[Any] | None = None
    mask_file: str | Path | None = None
    apart: NDArray[np.generic] | None = None

    @property
    def frames(self) -> Any:
        """Frames to register; a reference that was scanned apart comes before frame 0."""
        return self.series if self.apart is None else Preceded(self.apart, self.series)

    def refusing(self) -> contextlib.AbstractContextManager[None]:
        """Turn failures of the estimation into refusals that name the file."""
        many = self.mask is not None and self.mask.ndim == 4
        return refusing(self.series.path, self.mask_file, many=many)


def read_head(
    series: Series, mask_file: str | Path | None = None, reference_file: str | Path | None = None
) -> Head:
    """Read what belongs to a series: the mask, and a reference that was scanned apart."""
    apart = None if reference_file is None else read_volume(reference_file, series)
    mask = None if mask_file is None else read_mask(mask_file, series)
    if mask is not None and mask.ndim == 4 and apart is not None:
        mask = mask[..., 0]  # the reference has none of its own: it comes just before frame 0
    return Head(series, mask, mask_file, apart)


def track(
    head: Head, reference: int, *, settings: MotionSettings | None = None, device: str = "cpu"
) -> Tracking:
    """Rough poses of all frames, of the reference scanned apart as well."""
    track = partial(
        track_motion,
        head.frames,
        head.series.affine,
        mask=head.mask,
        reference=reference if head.apart is None else 0,
        settings=_timed(settings, head.series),
    )
    with head.refusing():
        return on_device(lambda one: track(device=one), device)


def _timed(settings: MotionSettings | None, series: Series) -> MotionSettings:
    """Settings with the times of the frames."""
    settings, seconds = settings or MotionSettings(), series.repetition_time
    return settings if seconds is None else replace(settings, repetition_time=seconds)


def estimate(
    head: Head,
    reference: int | Literal["auto"] = "auto",
    tracking: Tracking | None = None,
    *,
    settings: MotionSettings | None = None,
    device: str = "cpu",
    progress: Report | None = None,
) -> MotionEstimate:
    """Poses of all frames; reference −1 where that was scanned apart.

    `tracking`: rough poses to begin with; without them, the series is tracked first.
    """
    estimate = partial(
        estimate_motion,
        head.frames,
        head.series.affine,
        mask=head.mask,
        reference=reference if head.apart is None else 0,
        settings=_timed(settings, head.series),
        progress=progress,
        tracking=tracking,
    )
    with head.refusing():
        motion = on_device(lambda one: estimate(device=one), device)
    if head.apart is None:
        return motion
    return replace(
        motion,
        reference=-1,
        findings=(*motion.findings, _COUNTED) if motion.findings else (),
        poses=motion.poses[1:],
        covariance=motion.covariance[1:],
        similarity=motion.similarity[1:],
        status=motion.status[1:],
    )


def still(head: Head, reference: int) -> Tracking:
    """Identity poses, to begin with where no motion is expected, as after correction."""
    return Tracking.at_rest(head.frames.shape[3], reference if head.apart is None else 0)

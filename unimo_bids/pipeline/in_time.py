"""Corrected frames at one moment of each: when slices were acquired, or why that cannot be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unimo_bids.files.series import Series
from unimo_bids.motion.correction import Then, Volumes
from unimo_bids.pipeline.slices import read_slice_times, series_slice_times
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.warp import Warp

if TYPE_CHECKING:
    from unimo_bids.motion.slices.even_times import EvenTimes

NOT_IN_TIME = "The corrected series was not interpolated in time: {}."
_FEWEST = 5  # frames, as fMRIPrep has it: a spline through fewer is none


def even_times(
    about: Mapping[str, Any] | Path | None, series: Series, share: float | None
) -> tuple[EvenTimes | None, list[str]]:
    """Interpolator of frames in time, if that was asked for, or warnings why it cannot be done.

    `about`: what sidecars say of slices, or the sidecar.
    """
    if share is None:
        return None, []
    from unimo_bids.motion.slices.even_times import EvenTimes  # and scipy: few calls need it

    try:
        if about is None:
            raise ValueError("no --slice-timing was given")
        if series.shape[3] < _FEWEST:
            raise ValueError(f"a series of {series.shape[3]} frames is too short")
        if isinstance(about, Path):
            return EvenTimes(read_slice_times(about, series), share), []
        times = series_slice_times(about, series, series.repetition_time)
        return EvenTimes(times, share), []
    except ValueError as why:
        return None, [NOT_IN_TIME.format(why)]


def about_time(even: EvenTimes) -> dict[str, Any]:
    """Fields of BIDS that describe interpolated frames."""
    return {"SliceTimingCorrected": True, "StartTime": even.moment}


def in_time(
    even: EvenTimes | None,
    series: Series,
    non_steady: int,
    warps: Sequence[Warp],
    onto: Grid | None = None,
    space: Warp | None = None,
) -> Then | None:
    """Interpolation in time, as the argument `then` of `write_corrected`; None for none.

    `warps`: reference → volume, of each frame.
    """
    if even is None:
        return None

    def then(frames: Volumes, used: NDArray[np.bool_]) -> Volumes:
        counts = used & (np.arange(len(used)) >= non_steady)
        return even(frames, series.grid, warps, counts, onto=onto, space=space)

    return then

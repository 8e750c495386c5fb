"""Write the corrected series, and compare it with the raw one on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unimo_bids.files.series import Series
from unimo_bids.files.writing import SeriesWriter
from unimo_bids.motion.resampling import Interpolation, correct_series
from unimo_bids.qc.similarity import Likeness
from unimo_bids.qc.tsnr import TemporalMoments

# a line through a handful of frames explains most of their noise
_FEWEST_TO_DETREND = 10


@dataclass
class Comparison:
    """A series before and after correction.

    Attributes
    ----------
    moments
        Of the voxels over time, in the frames that were registered and are in steady state.
    similarity
        ``(T,)`` each, correlation with the template inside the mask.
    """

    moments: tuple[TemporalMoments, TemporalMoments]
    similarity: tuple[NDArray[np.float64], NDArray[np.float64]]

    @property
    def detrend(self) -> bool:
        """Whether there are enough frames to tell a drift from noise."""
        return self.moments[0].count >= _FEWEST_TO_DETREND

    def tsnr(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Give the maps before and after; 0 everywhere if fewer than two frames count."""
        before, after = (moments.tsnr(self.detrend) for moments in self.moments)
        return before, after


def write_corrected(
    path: str | Path,
    series: Series,
    poses: NDArray[np.float64],
    *,
    template: NDArray[np.floating],
    mask: NDArray[np.floating],
    status: Sequence[str] | NDArray[np.str_],
    non_steady: int = 0,
    interpolation: Interpolation = "cubic",
    device: str = "cpu",
    progress: Callable[[float], None] = lambda _share: None,
) -> Comparison:
    """Write a series without its motion; take statistics of both in the same pass.

    Parameters
    ----------
    path
        ``.nii`` or ``.nii.gz``
    series
        The raw one.
    poses
        ``(T, 4, 4)`` RAS mm, reference → volume.
    template, mask
        ``(X, Y, Z)`` what frames are compared with, and its weights.
    status
        ``(T,)``; bridged and lost frames are written, but have no part in the moments.
    non_steady
        Nor have so many frames at the start.
    progress
        Told the share done.
    """
    frames = series.shape[3]
    # one blank frame, or one before the magnetisation has settled, would be most of the deviation
    counts = ~np.isin(status, ("bridged", "lost")) & (np.arange(frames) >= non_steady)
    moments = TemporalMoments(series.shape[:3]), TemporalMoments(series.shape[:3])
    similarity = np.full(frames, np.nan), np.full(frames, np.nan)
    likeness = Likeness(template, mask)
    volumes = correct_series(
        series, series.affine, poses, interpolation=interpolation, device=device
    )
    with SeriesWriter(path, series) as writer:
        for t, corrected in enumerate(volumes):
            writer.append(corrected)
            for when, volume in enumerate((series.frame(t), corrected)):
                similarity[when][t] = likeness(volume)
                if counts[t]:
                    moments[when].update(volume, time=t)
            progress((t + 1) / frames)
    return Comparison(moments, similarity)

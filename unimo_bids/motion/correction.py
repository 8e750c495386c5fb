"""Write the corrected series, and compare it with the raw one on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unimo_bids.deformation.epi import Distortion
from unimo_bids.devices import on_device
from unimo_bids.files.series import Series
from unimo_bids.files.writing import SeriesWriter
from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.qc.similarity import Likeness
from unimo_bids.qc.tsnr import TemporalMoments
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid, inside
from unimo_bids.spatial.resampling import RIM, resample
from unimo_bids.spatial.warp import Composed, Rigid, Warp
from unimo_bids.words import Interpolation

# a line through a handful of frames explains most of their noise
_FEWEST_TO_DETREND = 10

Volumes = Iterator[NDArray[np.float32]]
Then = Callable[[Volumes, NDArray[np.bool_]], Volumes]


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
    motion: MotionEstimate,
    *,
    distortion: Distortion | None = None,
    non_steady: int = 0,
    interpolation: Interpolation = "cubic",
    device: str = "cpu",
    progress: Callable[[float], None] = lambda _share: None,
    instead: Iterator[NDArray[np.float32]] | None = None,
    then: Then | None = None,
) -> Comparison:
    """Write a series without its motion; take statistics of both in the same pass.

    Parameters
    ----------
    path
        ``.nii`` or ``.nii.gz``
    series
        The raw one.
    motion
        With the template that frames are compared with; bridged and lost ones are written, but
        have no part in the moments.
    distortion
        What bends the head as it moves, undone in the same resampling.
    non_steady
        Nor have so many frames at the start.
    progress
        Told the share done.
    instead
        Frames without motion that were made in another way, as from slices.
    then
        What is done to frames without motion, given these and the frames that count.
    """
    frames = series.shape[3]
    # one blank frame, or one before the magnetisation has settled, would be most of the deviation
    counts = motion.registered & (np.arange(frames) >= non_steady)
    likeness = Likeness(motion.template, motion.mask)

    def write(device: str) -> Comparison:
        moments = TemporalMoments(series.shape[:3]), TemporalMoments(series.shape[:3])
        similarity = np.full(frames, np.nan), np.full(frames, np.nan)
        how: dict[str, Any] = {"interpolation": interpolation, "device": device}
        volumes = instead or correct_series(
            series, series.affine, motion.poses, distortion=distortion, **how
        )
        if then is not None:
            volumes = then(volumes, counts)
        with SeriesWriter(path, series) as writer:
            for t, corrected in enumerate(volumes):
                writer.append(corrected)
                for when, volume in enumerate((series.frame(t), corrected)):
                    similarity[when][t] = likeness(volume)
                    if counts[t]:
                        moments[when].update(volume, time=t)
                progress((t + 1) / frames)
        return Comparison(moments, similarity)

    return on_device(write, device)


def moving(poses: NDArray[np.float64], distortion: Distortion | None = None) -> list[Warp]:
    """Where the reference is in each frame, by poses ``(T, 4, 4)`` and what bends the head."""
    every = torch.as_tensor(poses)
    return [Rigid(pose) if distortion is None else distortion.warp(pose) for pose in every]


def seen(warps: Sequence[Warp], grid: Grid, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which places of a mask ``(X, Y, Z)`` frames on its grid saw, ``(T, V)``: they are not 0."""
    points = grid.points()[torch.from_numpy(mask).flatten()]
    places = (rigid.transform(grid.to_index, warp(points)) for warp in warps)
    return np.stack([inside(place, grid.shape, margin=-RIM).numpy() for place in places])


def correct_series(
    series: Any,
    affine: NDArray[np.float64],
    poses: NDArray[np.float64],
    *,
    distortion: Distortion | None = None,
    onto: Grid | None = None,
    space: Warp | None = None,
    interpolation: Interpolation = "cubic",
    device: str = "cpu",
    progress: Callable[[float, str], None] | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Undo the motion of a series, frame by frame.

    Parameters
    ----------
    series
        ``(X, Y, Z, T)`` array or anything indexed like one; ``series[..., t]`` is read once.
    affine
        ``(4, 4)`` voxel → RAS mm.
    poses
        ``(T, 4, 4)`` RAS mm, reference → volume.
    distortion
        What bends the head as it moves.
    onto
        The grid that is wanted, if it is not the series' own.
    space
        From that grid's space to the reference's, if they are not the same.

    Yields
    ------
    ndarray
        ``(X, Y, Z)`` float32, frame after frame; 0 where a frame did not see the place. A frame
        that did not move is handed on exactly as it is.
    """
    grid = Grid.of(series.shape, affine)
    n_frames = series.shape[3]
    if len(poses) != n_frames:
        raise ValueError(f"{len(poses)} poses for {n_frames} frames")
    for t, moved_by in enumerate(moving(poses, distortion)):
        raw = np.nan_to_num(np.asarray(series[..., t], dtype=np.float32), posinf=0, neginf=0)
        if onto is None and np.array_equal(poses[t], np.eye(4)):
            yield raw
        else:
            warp = moved_by if space is None else Composed(space, moved_by)
            volume = torch.from_numpy(np.ascontiguousarray(raw)).to(device)
            if distortion is not None:
                volume = distortion.spread(volume)
            moved = resample(volume, grid, warp, onto=onto, interpolation=interpolation)
            if distortion is not None:
                moved = distortion.gathered(moved, onto, space)
            yield moved.cpu().numpy()
        if progress is not None:
            progress((t + 1) / n_frames, "resampling")

"""Poses at full resolution: every frame registered to the template, a few frames at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.frames import Frames, empty
from unimo_bids.registration.gauss_newton import register
from unimo_bids.registration.levels import make_level
from unimo_bids.registration.target import Target
from unimo_bids.registration.uncertainty import block_covariance
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grids import index_map

# voxels around the head that a window keeps: what blur and spline prefilter reach, and GN's steps
_WINDOW_RIM = 8


@dataclass
class Refined:
    """Poses at full resolution and what is known of them, one row per frame of the series."""

    poses: Tensor
    covariance: Tensor
    similarity: NDArray[np.float64]
    in_view: NDArray[np.float64]

    def take(self, other: Refined, frames: NDArray[np.int_]) -> None:
        """Replace what is known of some frames."""
        rows = torch.as_tensor(frames, device=self.poses.device)
        self.poses[rows], self.covariance[rows] = other.poses[rows], other.covariance[rows]
        self.similarity[frames], self.in_view[frames] = (
            other.similarity[frames],
            other.in_view[frames],
        )


def refine(
    frames: Frames,
    affine: Tensor,
    target: Target,
    poses: Tensor,
    wanted: NDArray[np.bool_],
    *,
    tolerance: float,
    spread: bool = True,
    progress: Callable[[float], None] = lambda _share: None,
) -> Refined:
    """Register frames to a target at full resolution.

    Parameters
    ----------
    affine
        Of the frames.
    target
        Made at a level of the whole grid.
    poses
        ``(T, 4, 4)`` where to start.
    wanted
        ``(T,)`` the frames to register; the others keep their poses, and nothing is said of them.
    tolerance
        Stop when a step moves the head by less, mm.
    spread
        Find out how far off the poses may be, too.
    progress
        Told the share done.
    """
    count = frames.count
    poses = poses.clone()
    covariance = torch.full((count, 6, 6), torch.nan, dtype=torch.float64, device=poses.device)
    similarity, in_view = np.full(count, np.nan), np.full(count, np.nan)
    for chunk in frames.chunks(np.flatnonzero(wanted).tolist()):
        rows = list(chunk)
        window = _window(target, frames.shape, affine, poses[rows])
        level = make_level(
            [s.stop - s.start for s in window],
            affine,
            blur=target.level.blur,
            cubic=True,
            first_voxel=[s.start for s in window],
            device=poses.device,
        )
        raw = frames(rows)[:, window[0], window[1], window[2]]
        sampled = level.sampled(raw)[:, None]
        nothing = empty(raw)
        valid = level.image(1 - nothing) if bool(nothing.any()) else None
        found = register(
            target, sampled, poses[rows], level=level, tolerance=tolerance, valid=valid
        )
        poses[rows] = found.poses
        if spread:
            covariance[rows] = block_covariance(
                target, sampled, found.poses, level=level, valid=valid
            )
        similarity[rows] = found.similarity.cpu().numpy()
        in_view[rows] = found.in_view.cpu().numpy()
        progress((rows[-1] + 1) / count)
    return Refined(poses, covariance, similarity, in_view)


def _window(
    target: Target, shape: tuple[int, int, int], affine: Tensor, poses: Tensor
) -> tuple[slice, slice, slice]:
    """The voxels that the target's points can reach in frames at these poses."""
    corners = torch.stack([target.points.amin(dim=0), target.points.amax(dim=0)]).double()
    box = torch.cartesian_prod(*corners.T) + target.center
    indices = rigid.transform(index_map(affine.to(poses), poses, torch.eye(4).to(poses)), box)
    low = indices.amin(dim=(0, 1)).floor().long() - _WINDOW_RIM
    high = indices.amax(dim=(0, 1)).ceil().long() + _WINDOW_RIM + 1
    slices = []
    for axis, n in enumerate(shape):
        start = int(low[axis].clamp(0, max(0, n - 2 * _WINDOW_RIM)))
        stop = int(high[axis].clamp(min(n, start + 2 * _WINDOW_RIM), n))
        slices.append(slice(start, stop))
    return slices[0], slices[1], slices[2]

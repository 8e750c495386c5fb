"""Slices of a series: where each was, and the frames that they make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.motion.frames import Frames
from unimo_bids.motion.quality import similarity_threshold
from unimo_bids.motion.slices.fitting import SliceProblem
from unimo_bids.motion.slices.rebuilding import rebuild
from unimo_bids.motion.slices.trajectory import SliceTimes, Trajectory, through_frames
from unimo_bids.spatial import rigid
from unimo_bids.spatial.region import Region


@dataclass(frozen=True, eq=False)
class SliceMotion:
    """Head motion through T frames of S slices.

    Attributes
    ----------
    times
        Of the slices.
    trajectory
        The head's way through time.
    poses
        ``(T, S, 4, 4)`` float64 RAS mm, reference → slice.
    gains
        ``(T, S)`` intensity of a slice relative to its frame's.
    similarity
        ``(T,)`` correlation of each frame's slices with the template; NaN without image.
    explained
        ``(T,)`` bool: frames whose slices the trajectory explains.
    """

    times: SliceTimes
    trajectory: Trajectory
    poses: NDArray[np.float64]
    gains: NDArray[np.float64]
    similarity: NDArray[np.float64]
    explained: NDArray[np.bool_]

    def within_frames(self, radius: float) -> NDArray[np.float64]:
        """Largest displacement between two slices of each frame ``(T,)``, mm on the surface."""
        arms = torch.cat([torch.eye(3), -torch.eye(3)]).double() * radius
        points = self.trajectory.center + arms
        found = []
        for poses in torch.from_numpy(self.poses):
            moved = rigid.transform(poses, points)  # (S, 6, 3)
            extent = moved.amax(dim=0) - moved.amin(dim=0)
            found.append(float(extent.norm(dim=1).max()))
        return np.array(found)


def estimate_slices(
    series: Any, affine: NDArray[np.float64], motion: MotionEstimate, times: SliceTimes
) -> SliceMotion:
    """Follow a head through the slices of a series, from its motion frame by frame.

    Parameters
    ----------
    series
        ``(X, Y, Z, T)`` array or anything indexed like one.
    affine
        ``(4, 4)`` voxel → RAS mm.
    motion
        From `estimate_motion`.
    times
        When slices were acquired.
    """
    with torch.inference_mode():
        frames, head = _prepared(series, affine, motion)
        if len(times.offsets) != frames.grid.shape[times.axis]:
            finding = f"{len(times.offsets)} slice times for {frames.grid.shape[times.axis]} slices"
            raise ValueError(finding)
        usable = np.isfinite(motion.similarity)
        good = usable & np.isin(motion.status, ("ok", "searched"))
        start = through_frames(torch.from_numpy(motion.poses), good, times, head.center)
        template = torch.from_numpy(motion.template) / frames.scale
        fit = SliceProblem(frames, template, head, times, usable).fit(start)
        poses = torch.stack([fit.trajectory.at(times.of(t)) for t in range(frames.count)])
        limit = similarity_threshold(fit.similarity[usable])
        return SliceMotion(
            times=times,
            trajectory=fit.trajectory,
            poses=poses.numpy(),
            gains=fit.gains,
            similarity=fit.similarity,
            explained=usable & (np.nan_to_num(fit.similarity) >= limit),
        )


def correct_slices(
    series: Any, affine: NDArray[np.float64], motion: MotionEstimate, slices: SliceMotion
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Frames in the reference's space from slices where they truly were, and their coverage.

    ``(X, Y, Z)`` float32 each; a frame is 0 where its coverage is less than a half. What goes with
    the head is right; what lies still around it is not.
    """
    with torch.inference_mode():
        frames, _ = _prepared(series, affine, motion)
        shape = frames.grid.shape
        whole = slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2])
        for t in range(frames.count):
            poses, gains = (torch.from_numpy(one[t]) for one in (slices.poses, slices.gains))
            image: Tensor = frames([t])[0] * frames.scale
            values, coverage = rebuild(image, frames.grid, poses, slices.times.axis, gains, whole)
            yield values.numpy(), coverage.numpy()


def _prepared(
    series: Any, affine: NDArray[np.float64], motion: MotionEstimate
) -> tuple[Frames, Region]:
    frames = Frames(series, affine, torch.device("cpu"))
    frames.scale = float(np.quantile(np.abs(motion.template), 0.98)) or 1.0
    center = torch.from_numpy(motion.center)
    head = Region(frames.grid, torch.from_numpy(motion.mask), center, motion.radius)
    return frames, head

"""A template of frames that hardly move within themselves, for the last stage of a trajectory.

Every frame is a little torn, and so is what is made of all: a slice lies in it where it was on
average. Where heads nod alike in the frames that nod, heads at rest seem to nod the other way.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.frames import Frames
from unimo_bids.motion.scan import MOST_FRAMES
from unimo_bids.motion.slices.thresholds import CALM
from unimo_bids.motion.slices.trajectory import SliceTimes, Trajectory
from unimo_bids.motion.template import align, robust_mean
from unimo_bids.spatial import rigid
from unimo_bids.spatial.region import Region

_WINDOW_RIM = 3  # voxels around the head, as in the template of all frames


def moved_within(poses: Tensor, surface: Tensor) -> NDArray[np.float64]:
    """Largest displacement between two slices of each frame ``(T,)``, mm.

    Parameters
    ----------
    poses
        ``(T, S, 4, 4)`` of slices.
    surface
        ``(N, 3)`` mm, points of the head.
    """
    moved = (rigid.transform(own, surface).transpose(0, 1) for own in poses)  # (N, S, 3)
    return np.array([float(torch.cdist(one, one).max()) for one in moved])


def calm_template(
    frames: Frames,
    template: Tensor,
    head: Region,
    trajectory: Trajectory,
    times: SliceTimes,
    good: NDArray[np.bool_],
) -> Tensor:
    """Robust mean ``(X, Y, Z)`` of good frames that move least within themselves, at their middles.

    Around the head it is the template of all.
    """
    poses = trajectory.at(times.of_all(frames.count))
    within = np.where(good, moved_within(poses, head.surface()), np.inf)
    many = max(1, round(CALM.share * int(good.sum())))
    calm = np.sort(np.argsort(within, kind="stable")[:many])
    chosen = calm[np.linspace(0, many - 1, min(many, MOST_FRAMES)).round().astype(int)].tolist()
    middles = trajectory.at(torch.tensor(chosen) * times.repetition_time + times.middle)
    window = head.window(_WINDOW_RIM)
    weights = head.weights[window]
    lost = frames.lost(chosen)
    aligned = align(frames(chosen), middles, frames.grid, weights, window, lost)
    made = template.clone()
    made[window] = robust_mean(aligned)
    return made

"""How far a head had come on its way across a gap, slice by slice: where a trajectory begins.

In a frame that no single pose explains a head most often turns from the pose of the frame before to
that of the frame after, in a part of the time. A descent that starts from an even turn finds the
time of a sudden one, or does not, by a hair. So every slice is first compared with the template at
some poses along that way, and the path that never turns back and fits best is found by dynamic
programming. It is a start alone: the descent is free to leave it.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.frames import Frames
from unimo_bids.motion.slices.points import Model
from unimo_bids.motion.slices.trajectory import SliceTimes, Trajectory
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import voxel_centers
from unimo_bids.spatial.interpolation import gaussian_blur

_STEPS = 12  # of the way: of a turn by 25°, two degrees each
BLUR = 2.0  # voxels in the slices' plane; every second one is looked at
_FEWEST = 30  # of these, that show the head: a slice with less says nothing
_REACH = 1.6  # radii of the head, from its centre: no head is longer
_LEAST = 1e-6  # of what is left unexplained


def across_gaps(
    start: Trajectory,
    frames: Frames,
    model: Model,
    times: SliceTimes,
    poses: Tensor,
    usable: NDArray[np.bool_],
    good: NDArray[np.bool_],
) -> Trajectory:
    """The start, but in gaps between good frames as far on as their slices say.

    Parameters
    ----------
    model
        The template, blurred by `BLUR`.
    poses
        ``(T, 4, 4)`` of frames.
    usable
        ``(T,)`` frames that hold an image.
    good
        ``(T,)`` frames whose pose is believed.
    """
    known, knots = np.flatnonzero(good), start.knots.clone()
    share = torch.linspace(0, 1, _STEPS + 1, dtype=torch.float64)
    for before, after in pairwise(known):
        between = [t for t in range(before + 1, after) if usable[t]]
        if not between:
            continue
        way = _between(poses[before], poses[after], share, start.center)
        costs = np.concatenate([_costs(frames, t, way, model, times.axis) for t in between])
        when = np.concatenate([times.of(t).numpy() for t in between])
        told = np.ptp(costs, axis=1) > 0
        when, at_once = np.unique(when[told], return_inverse=True)
        together = np.zeros((len(when), _STEPS + 1))
        np.add.at(together, at_once, costs[told])
        first, last = (t * times.repetition_time + times.middle for t in (before, after))
        inside = (start.times > first) & (start.times < last)
        came = np.interp(
            start.times[inside],
            np.concatenate([[first], when, [last]]),
            np.concatenate([[0.0], path(together) / _STEPS, [1.0]]),
        )
        knots[inside] = _between(poses[before], poses[after], torch.from_numpy(came), start.center)
    return replace(start, knots=knots)


def path(costs: NDArray[np.float64]) -> NDArray[np.intp]:
    """Which of P places N slices were at, one after the other ``(N,)``, if none turned back.

    Parameters
    ----------
    costs
        ``(N, P)`` of a slice at a place.
    """
    least, came = np.zeros(costs.shape[1]), []
    for own in costs:
        # the cheapest place so far, for each place that could follow
        cheapest = np.minimum.accumulate(least)
        first = np.where(least == cheapest, np.arange(len(least)), 0)
        came.append(np.maximum.accumulate(first))
        least = cheapest + own
    place, found = int(np.argmin(least)), []
    for before in reversed(came):
        found.append(place)
        place = int(before[place])
    return np.array(found[::-1], dtype=np.intp)


def _between(one: Tensor, other: Tensor, shares: Tensor, center: Tensor) -> Tensor:
    """Poses ``(N, 4, 4)`` at shares ``(N,)`` of the way from one pose to another."""
    many = len(shares), 4, 4
    return rigid.interpolate(one.expand(many), other.expand(many), shares, center)


def _costs(frames: Frames, t: int, way: Tensor, model: Model, axis: int) -> NDArray[np.float64]:
    """Of a frame's slices at poses ``(P, 4, 4)``: ``(S, P)`` nats, 0 where they show no head."""
    grid = frames.grid
    image = gaussian_blur(frames([t]), model.widths)[0].movedim(axis, 0)
    shape = list(grid.shape)
    shape[axis] = 1
    voxels = voxel_centers(shape)
    apart = [a for a in range(3) if a != axis]
    voxels = voxels[(voxels[:, apart] % 2 == 0).all(dim=1)]
    slices = torch.arange(grid.shape[axis])
    index = voxels.repeat(len(slices), 1)
    index[:, axis] = slices.repeat_interleave(len(voxels)).to(index)
    values = image[:, ::2, ::2].reshape(len(slices), -1)
    center = rigid.transform(grid.to_index @ way, model.head.center[None])[:, 0]
    near = torch.zeros(len(index), dtype=torch.bool)
    for one in center:
        near |= ((index - one) * grid.sizes).norm(dim=1) < _REACH * model.head.radius
    read, weights = (torch.zeros(len(way), len(index)) for _ in range(2))
    for p, pose in enumerate(way):
        back = model.grid.to_index @ rigid.inverse(pose) @ grid.affine
        at = rigid.transform(back, index[near]).float().mT
        read[p, near], weights[p, near] = model.values(at), model.weights(at)
    read, weights = (part.reshape(len(way), *values.shape) for part in (read, weights))
    total = weights.sum(dim=2, keepdim=True).clamp(min=_LEAST)
    f, m = (part - (weights * part).sum(dim=2, keepdim=True) / total for part in (read, values))
    varies = (weights * f**2).sum(dim=2) * (weights * m**2).sum(dim=2)
    explained = (weights * f * m).sum(dim=2) ** 2 / varies.clamp(min=1e-12)
    # a slice has a gain and an offset of its own; at all poses it counts as many voxels
    many = weights.sum(dim=2).mean(dim=0)
    costs = torch.log1p(-explained.clamp(max=1 - _LEAST)) * many * (many > _FEWEST) / 2
    return np.asarray(costs.mT.double().numpy())

"""Whether slices were acquired in another order than is said.

Slices tell where they were by their normal equations H, g at their frames' poses. With these alone
the best trajectory at other times is one banded solution, to second order: its motion e from where
frames have slices, of the cost ``½ eᵀ H e - gᵀ e`` and that of bends. Told times are given to
slices in the usual orders, and what explains them best is compared frame by frame.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.slices.fitting import SliceProblem
from unimo_bids.motion.slices.judge import agreed
from unimo_bids.motion.slices.solving import SliceEquations, State, solved
from unimo_bids.motion.slices.thresholds import JUDGE
from unimo_bids.motion.slices.trajectory import AT_ONCE, SliceTimes, away, through_frames

_FIRST = ("even ones first", "odd ones first")  # counted from 0


def better_order(problem: SliceProblem, one_pose: SliceEquations, frame_poses: Tensor) -> str:
    """In words, the usual order of slices by which they are clearly better explained, or nothing.

    It has to be better than the told one and than one pose a frame, as frames agree.

    Parameters
    ----------
    one_pose
        ``(T, S)`` equations of the slices at their frames' poses.
    frame_poses
        ``(T, 4, 4)``
    """
    times = problem.times
    if problem.good.sum() < JUDGE.doubted:
        return ""
    others = {
        words: _costs(
            problem, one_pose, frame_poses, SliceTimes(times.axis, offsets, times.repetition_time)
        )
        for words, offsets in usual_orders(times.offsets)
    }
    if not others:
        return ""
    told = _costs(problem, one_pose, frame_poses, times)
    best = min(others, key=lambda words: float(others[words].sum()))
    return best if agreed(told - others[best]) and agreed(-others[best]) else ""


def usual_orders(offsets: NDArray[np.float64]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """The same times ``(S,)`` in the usual orders, but that which they are in; and what it is.

    As many slices as are acquired at once stay so; none where their number differs.
    """
    ordered = np.sort(offsets)
    shared = ordered[np.append(True, np.diff(ordered) > AT_ONCE)]
    many = len(shared)
    together = (np.abs(offsets[:, None] - shared) <= AT_ONCE).sum(axis=0)
    if (together != together[0]).any():
        return
    number = np.arange(many)
    even, odd = number[::2], number[1::2]
    for order in (number, np.append(even, odd), np.append(odd, even)):
        for onward, way in (("up", order), ("down", many - 1 - order)):
            kind = "one after the other" if order is number else _FIRST[way[0] % 2]
            every = np.tile(shared[np.argsort(way)], len(offsets) // many)
            if np.abs(every - offsets).max() > AT_ONCE:
                yield f"{kind}, {onward}", every


def _costs(
    problem: SliceProblem, one_pose: SliceEquations, frame_poses: Tensor, times: SliceTimes
) -> NDArray[np.float64]:
    """Of the slices of each good frame ``(N,)``, relative to one pose: negative is better."""
    good, center = torch.from_numpy(problem.good), problem.head.center
    start = through_frames(frame_poses, problem.good, times, center)
    when = times.of_all(len(frame_poses))
    apart = away(frame_poses[:, None], start.at(when), center, problem.head.radius)
    hessian = one_pose.hessian * good[:, None, None, None]
    pull = (hessian @ apart[..., None])[..., 0]
    rhs = one_pose.rhs * good[:, None, None] - pull
    state = State(len(start.knots), *when.shape)
    before, a = start.between(when)
    equations = SliceEquations(hessian.flatten(0, 1), rhs.flatten(0, 1), torch.zeros(when.numel()))
    state.add(before.flatten(), a.flatten(), equations)
    step = solved(state, *problem.priors(start)(start), damping=0.0)
    a = a[..., None]
    apart = apart + (1 - a) * step[before] + a * step[before + 1]
    bent = 0.5 * (hessian @ apart[..., None])[..., 0] - one_pose.rhs
    return np.asarray((apart * bent).sum(dim=(1, 2))[good].numpy())

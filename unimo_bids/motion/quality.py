"""Which poses to believe: status per frame, outliers, bridges across them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.thresholds import QUALITY
from unimo_bids.spatial import rigid
from unimo_bids.words import Status

STATUSES: tuple[Status, ...] = get_args(Status)

_SIGMA_PER_MAD = 1.4826


@dataclass(frozen=True)
class Predicted:
    """Poses at N times, and what is known of them.

    Attributes
    ----------
    poses
        ``(N, 4, 4)`` float64 RAS mm, reference → the head at that time.
    covariance
        ``(N, 6, 6)`` as of `MotionEstimate`.
    """

    poses: Tensor
    covariance: Tensor


def warnings_of(status: Sequence[str]) -> list[str]:
    """Warn of frames without a pose, in one sentence or none.

    Parameters
    ----------
    status
        ``(T,)`` of every frame.

    Examples
    --------
    >>> warnings_of(["ok", "lost", "ok", "lost"])
    ['2 of 4 frames could not be registered (1, 3): do not use them.']
    """
    lost = [t for t, one in enumerate(status) if one == "lost"]
    if not lost:
        return []
    listed = ", ".join(map(str, lost[:8])) + (", …" if len(lost) > 8 else "")
    counted = f"{len(lost)} of {len(status)} frames could not be registered"
    return [f"{counted} ({listed}): do not use them."]


def similarity_threshold(
    similarity: NDArray[np.float64],
    spreads: float = QUALITY.spreads,
    at_least: float = QUALITY.least_below,
    at_most: float = QUALITY.most_below,
) -> float:
    """Below this a frame is not explained by its pose, given how well the others are.

    The good frames of a series agree among themselves: the threshold lies below their upper
    quartile by a multiple of the spread of the better half, so that a series in which half of the
    frames fail still knows what a good one looks like. Works on Fisher's z, where the spread of a
    correlation does not depend on its size.

    Parameters
    ----------
    similarity
        ``(T,)`` correlations.
    spreads
        How many robust standard deviations below.
    at_least, at_most
        Never nearer or farther than this, in units of z.

    Examples
    --------
    >>> similarity_threshold(np.full(9, 0.99))
    0.91
    >>> round(similarity_threshold(np.full(9, 0.95)), 2)
    0.68
    """
    z = np.arctanh(np.clip(similarity[np.isfinite(similarity)], 0, 0.999999))
    if len(z) == 0:
        return 0.0
    better = z[z >= np.median(z)]
    spread = _SIGMA_PER_MAD * float(np.median(np.abs(better - np.median(better)))) * 2
    limit = np.quantile(z, 0.75) - min(max(spreads * spread, at_least), at_most)
    return float(np.clip(np.tanh(limit), QUALITY.never_good, QUALITY.never_failed))


def bridge(
    poses: Tensor,
    covariance: Tensor,
    good: NDArray[np.bool_],
    score: NDArray[np.float64],
    center: Tensor,
    radius: float,
    predicted: Predicted | None = None,
) -> tuple[Tensor, Tensor, NDArray[np.bool_]]:
    """Smooth the poses of frames that failed; never touch the others.

    Where nothing is predicted, the head is taken to turn and move evenly between the last good
    frame before a gap and the first after it; how far it moves in between says how little that is
    worth. A failed frame's own
    pose is worth as much as its similarity: a torn frame may be off by millimetres, a frame of
    noise by the size of the head. The two are weighted by these variances. So a torn frame in a
    large turn keeps its own pose, and one among still frames rests with them.

    Parameters
    ----------
    poses, covariance
        ``(T, 4, 4)`` and ``(T, 6, 6)``
    good
        ``(T,)`` frames to believe.
    score
        ``(T,)`` similarity of each frame at its own pose; NaN where there is none.
    center, radius
        Of the head, mm.
    predicted
        Poses of all frames by those that are good, and what that is worth.

    Returns
    -------
    poses, covariance
        Changed only where `good` is false.
    bridged
        ``(T,)`` failed frames that now rest on good frames on both sides, in a short gap.
    """
    own_poses = poses
    poses, covariance = poses.clone(), covariance.clone()
    bridged = np.zeros(len(good), dtype=bool)
    places = np.flatnonzero(good)
    if len(places) == 0:
        return poses, covariance, bridged
    step = _step_variance(poses, places, center)
    to_mm = torch.tensor([radius**2] * 3 + [1.0] * 3, dtype=poses.dtype)
    for t in np.flatnonzero(~good).tolist():
        after = int(np.searchsorted(places, t))
        before = int(places[max(after - 1, 0)])
        following = int(places[min(after, len(places) - 1)])
        gap = following - before
        if predicted is not None:
            way, spread = predicted.poses[t], predicted.covariance[t].diagonal()
        else:
            fraction = torch.tensor((t - before) / gap if gap else 0.0, dtype=poses.dtype)
            way = rigid.interpolate(poses[before], poses[following], fraction, center)
            nearest = min(abs(t - before), abs(t - following))
            spanned = _between(poses[before], poses[following], center)
            spread = spanned**2 / 4 + step * nearest
        way_mm2 = float((spread * to_mm).mean())
        own_mm2 = (radius * (1 - score[t]) / 2) ** 2 if np.isfinite(score[t]) else np.inf
        own_share = way_mm2 / (way_mm2 + own_mm2) if way_mm2 > 0 else 0.0
        poses[t] = rigid.interpolate(
            way, own_poses[t], torch.tensor(own_share, dtype=poses.dtype), center
        )
        covariance[t] = covariance[[before, following]].mean(dim=0)
        covariance[t] += torch.diag(spread) * (1 - own_share)
        bridged[t] = before < t < following and gap - 1 <= QUALITY.bridge and own_share < 0.5
    return poses, covariance, bridged


def _between(pose_a: Tensor, pose_b: Tensor, center: Tensor) -> Tensor:
    """Six parameters of the motion from a to b, as seen from the reference, ``(6,)``."""
    rotation, translation = rigid.to_parameters(rigid.inverse(pose_a) @ pose_b, center)
    return torch.cat([rotation, translation])


def _step_variance(poses: Tensor, places: NDArray[np.int_], center: Tensor) -> Tensor:
    """Mean square of the six parameters from one good frame to the next, ``(6,)``."""
    if len(places) < 2:
        return torch.zeros(6, dtype=poses.dtype)
    good = poses[torch.as_tensor(places)]
    rotation, translation = rigid.to_parameters(
        rigid.inverse(good[:-1]) @ good[1:], center.expand(len(good) - 1, 3)
    )
    return torch.cat([rotation, translation], dim=-1).square().mean(dim=0)


def within_frame(poses: Tensor, good: NDArray[np.bool_], center: Tensor) -> Tensor:
    """Covariance ``(T, 6, 6)`` (rad, mm) of what a head may move while a frame is taken.

    A frame has one pose, its slices have many: which of them it stands for is known to a part of
    the step from the frame before to the frame after. Frames that failed have no say.
    """
    places = np.flatnonzero(good)
    out = torch.zeros(len(poses), 6, 6, dtype=torch.float64)
    for t in range(len(poses)):
        at = int(np.searchsorted(places, t))
        before = places[max(0, at - 1)] if len(places) else t
        after = places[min(len(places) - 1, at + int(t in places))] if len(places) else t
        if after > before:
            rotation, shift = rigid.to_parameters(
                rigid.inverse(poses[before]) @ poses[after], center
            )
            step = torch.cat([rotation, shift]) * QUALITY.part_of_step / float(after - before)
            out[t] = step[:, None] * step
    return out

"""Which poses to believe: status per frame, outliers, bridges across them."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.spatial import rigid

Status = Literal["ok", "searched", "bridged", "lost"]
STATUSES: tuple[Status, ...] = ("ok", "searched", "bridged", "lost")

# a gap longer than this is not bridged: a head can do anything meanwhile
_LONGEST_BRIDGE = 4
_SIGMA_PER_MAD = 1.4826


def similarity_threshold(
    similarity: NDArray[np.float64],
    spreads: float = 8.0,
    at_least: float = 1.0,
    at_most: float = 1.5,
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
    at_least
        Never nearer than this, in units of z: noise and spin history differ between good frames.
        With 1.0, a series of 0.995 calls a frame failed below 0.963.
    at_most
        Never farther than this: where most frames fail, their spread says nothing.
    """
    z = np.arctanh(np.clip(similarity[np.isfinite(similarity)], 0, 0.999999))
    if len(z) == 0:
        return 0.0
    better = z[z >= np.median(z)]
    spread = _SIGMA_PER_MAD * float(np.median(np.abs(better - np.median(better)))) * 2
    limit = np.quantile(z, 0.75) - min(max(spreads * spread, at_least), at_most)
    return float(np.tanh(max(limit, np.arctanh(0.3))))


def bridge(
    poses: Tensor, covariance: Tensor, good: NDArray[np.bool_], center: Tensor
) -> tuple[Tensor, Tensor, NDArray[np.bool_]]:
    """Replace poses that failed by the way between their good neighbours.

    Between the last good frame before and the first after a gap the head is taken to turn and
    move evenly. Good frames are never changed. The covariance of a bridged frame grows with the
    square of the step it spans.

    Returns
    -------
    poses, covariance
        ``(T, 4, 4)`` and ``(T, 6, 6)``, changed only where `good` is false.
    bridged
        ``(T,)`` failed frames in a gap short enough to believe the bridge.
    """
    poses, covariance = poses.clone(), covariance.clone()
    bridged = np.zeros(len(good), dtype=bool)
    places = np.flatnonzero(good)
    if len(places) == 0:
        return poses, covariance, bridged
    for t in np.flatnonzero(~good):
        after = int(np.searchsorted(places, t))
        before = places[after - 1] if after > 0 else None
        following = places[after] if after < len(places) else None
        if before is None or following is None:
            nearest = int(following if before is None else before)  # type: ignore[arg-type]
            poses[t] = poses[nearest]
            covariance[t] = covariance[nearest] + _step_variance(poses, places, center)
            continue
        fraction = torch.tensor((t - before) / (following - before), dtype=torch.float64)
        poses[t] = rigid.interpolate(poses[before], poses[following], fraction, center)
        spanned = _between(poses[before], poses[following], center)
        covariance[t] = covariance[[int(before), int(following)]].mean(dim=0)
        covariance[t] += torch.diag(spanned**2 / 4) + _step_variance(poses, places, center)
        bridged[t] = following - before - 1 <= _LONGEST_BRIDGE
    return poses, covariance, bridged


def _between(pose_a: Tensor, pose_b: Tensor, center: Tensor) -> Tensor:
    """Six parameters of the motion from a to b, as seen from the reference, ``(6,)``."""
    rotation, translation = rigid.to_parameters(rigid.inverse(pose_a) @ pose_b, center)
    return torch.cat([rotation, translation])


def _step_variance(poses: Tensor, places: NDArray[np.int_], center: Tensor) -> Tensor:
    """Mean square of the six parameters from one good frame to the next, ``(6, 6)`` diagonal."""
    if len(places) < 2:
        return torch.zeros(6, 6, dtype=poses.dtype)
    good = poses[torch.as_tensor(places)]
    rotation, translation = rigid.to_parameters(
        rigid.inverse(good[:-1]) @ good[1:], center.expand(len(good) - 1, 3)
    )
    return torch.diag(torch.cat([rotation, translation], dim=-1).square().mean(dim=0))

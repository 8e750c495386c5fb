"""Whether a pose for every slice is better than one a frame, by slices that had no say.

The trajectory is fitted to all slices, so it explains them too well. What it would be without a
slice follows from the covariance P of the slice's pose, and from the normal equations H, g that
are the slice's own ::

    P' = (P⁻¹ - H)⁻¹,  δ = -P' g,  cost' = cost + ½ δᵀ H δ - gᵀ δ

At rest cost' is above that of the frame's one pose, as six numbers a frame are fewer than those of
a trajectory; where the head moved, far below.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.slices.solving import State
from unimo_bids.motion.slices.thresholds import JUDGE


def better_held_out(state: State, one_pose: State, covariance: Tensor) -> Tensor:
    """How much better slices are explained by a trajectory that did not see them ``(T, S)``.

    In observations; NaN where a slice shows nothing of the head.
    """
    own = state.of_slices
    shown = own.hessian.diagonal(dim1=2, dim2=3).sum(dim=2) > 0
    h, g = own.hessian[shown], own.rhs[shown][..., None]
    precision = torch.linalg.inv(covariance[shown])
    # an ulp of what is left keeps it positive, where a slice is all that is known
    least = 1e-6 * precision.diagonal(dim1=1, dim2=2).amax(dim=1)
    without = precision - h + least[:, None, None] * torch.eye(6, dtype=torch.float64)
    step = -torch.linalg.solve(without, g)
    cost = own.cost[shown] + (0.5 * step.mT @ h @ step - g.mT @ step)[:, 0, 0]
    gain = torch.full(shown.shape, torch.nan, dtype=torch.float64)
    gain[shown] = one_pose.of_slices.cost[shown] - cost
    return gain


def standardised(held_out: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean gain of each frame's slices ``(T,)`` over its standard error; NaN where few tell."""
    out = np.full(len(held_out), np.nan)
    for t, gains in enumerate(held_out):
        known = gains[np.isfinite(gains)]
        if len(known) >= JUDGE.fewest:
            error = max(float(known.std()) / np.sqrt(len(known)), 1e-12)
            out[t] = known.mean() / error
    return out


def agreed(gains: NDArray[np.float64]) -> bool:
    """Whether frames ``(N,)`` agree that something gains."""
    error = float(gains.std()) / np.sqrt(max(1, len(gains)))
    return len(gains) > 1 and float(gains.mean()) > JUDGE.clear * error


def clearly_better(standardised: NDArray[np.float64], good: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Frames ``(T,)`` for which slices are better than one pose, given how much each gains.

    Where the head moved within most frames, a frame that gains at all; elsewhere only one that
    gains more than chance, as a torn one does, or one that nods while the others rest. Frames that
    are not good have no say about others.
    """
    told = standardised[good & np.isfinite(standardised)]
    most_move = len(told) > 0 and np.median(told) > JUDGE.usual
    return np.asarray(np.nan_to_num(standardised) > (0.0 if most_move else JUDGE.clear))

"""Contrast that comes back in a cycle (labels and controls, delays, echoes), and poses with it.

Where contrast changes, the anatomy seems to move a little: the edge of a brighter compartment is
not where that of a darker one was. If that happens in a cycle of frames and the estimated motion
has the same cycle, the two cannot be told apart: no head moves in step with the scanner's labels.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.thresholds import CYCLES
from unimo_bids.spatial import rigid

Float64 = NDArray[np.float64]


def most_different(values: Tensor, usable: Tensor) -> Float64:
    """How much each frame shows of what differs most among frames, ``(T,)``.

    Parameters
    ----------
    values
        ``(T, N)`` of the frames at the same places of the head.
    usable
        ``(T,)`` frames that hold an image.
    """
    values = values - values.mean(dim=1, keepdim=True)
    values = values / torch.linalg.norm(values, dim=1, keepdim=True).clamp(min=1e-12)
    values = (values - values[usable].mean(dim=0)) * usable[:, None]
    return np.asarray(torch.linalg.eigh(values @ values.T).eigenvectors[:, -1].cpu())


def contrast_cycle(levels: Float64) -> int:
    """Frames after which the contrast comes back, 0 if it does not.

    Parameters
    ----------
    levels
        ``(T,)`` of each frame: how much it shows of what differs among frames.
    """
    best, period = CYCLES.share, 0
    for p in range(2, min(CYCLES.longest, len(levels) // CYCLES.fewest) + 1):
        fast = _fast(levels[:, None], p)
        left = fast - _phases(fast, p)
        # each phase has a mean of its own: that much chance explains
        freedom = (len(levels) - 1) / max(1, len(levels) - p)
        share = 1 - freedom * float((left**2).sum() / max(float((fast**2).sum()), 1e-30))
        if share > best + 0.02:  # of a cycle and its multiples, the shortest
            best, period = share, p
    return period


def without_cycle(
    poses: Tensor, covariance: Tensor, period: int, center: Tensor, radius: float
) -> tuple[Tensor, Tensor, float]:
    """Poses without what comes back in a cycle; what was taken away is added to their variance.

    Returns also how far the head's surface went in a cycle, mm.
    """
    rotation, shift = rigid.to_parameters(poses, center.expand(len(poses), 3))
    motion = torch.cat([rotation, shift], dim=1).numpy()
    cycle = _phases(_fast(motion, period), period)
    steady = torch.from_numpy(motion - cycle)
    extent = np.ptp(cycle, axis=0)
    taken = torch.from_numpy(cycle)
    return (
        rigid.from_parameters(steady[:, :3], steady[:, 3:], center.expand(len(poses), 3)),
        covariance + taken[:, :, None] * taken[:, None, :],
        float(np.linalg.norm(extent[3:]) + radius * np.linalg.norm(extent[:3])),
    )


def cycle_finding(period: int, extent: float) -> str:
    """Say what was taken away."""
    return (
        f"The contrast changes in a cycle of {period} frames, and poses seemed to go with it by up "
        f"to {extent:.2f} mm: as the two cannot be told apart, that part is not corrected."
    )


def _fast(values: Float64, period: int) -> Float64:
    """Columns less their average over one cycle around each frame."""
    kernel = np.ones(period + 1)
    kernel[[0, -1]] = 0.5  # a whole cycle, centred on the frame
    weight = np.convolve(np.ones(len(values)), kernel, mode="same")
    smooth = [np.convolve(column, kernel, mode="same") / weight for column in values.T]
    return values - np.stack(smooth, axis=1)


def _phases(values: Float64, period: int) -> Float64:
    """The mean of every phase of the cycle, at each frame."""
    phase = np.arange(len(values)) % period
    means = np.stack([values[phase == p].mean(axis=0) for p in range(period)])
    return np.asarray((means - means.mean(axis=0))[phase])

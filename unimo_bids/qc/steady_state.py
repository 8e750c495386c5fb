"""How many frames at the start of a series were taken before the magnetisation had settled."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from unimo_bids.qc.thresholds import STEADY

Float64 = npt.NDArray[np.float64]

_SIGMA_PER_MAD = 1 / 0.6745  # of a normal distribution


def count_non_steady(series: Any) -> int:
    """How many frames at the start are not in steady state.

    Looks at the mean over the *whole* frame, background and all, of the first 50 frames: until
    the longitudinal magnetisation has settled, everything in the field of view is brighter. A head
    that moves within the field of view, and a fetus within its mother, hardly changes it, unlike
    the mean within a mask. How the means are judged: `leading_outliers`.

    `series`: ``(X, Y, Z, T)``, anything that gives a frame for ``series[..., t]``: as acquired,
    since correcting for motion brings empty borders in.
    """
    frames = min(series.shape[3], STEADY.frames)
    means = [np.asarray(series[..., t]).mean(dtype=np.float64) for t in range(frames)]
    return leading_outliers(np.asarray(means))


def leading_outliers(signal: Float64) -> int:
    """How many values at the start are outliers that settle.

    The leading values whose distance from the median is above 3.5 robust standard deviations, as
    nipype's ``NonSteadyStateDetector`` has it. If there are more than three they must keep falling
    towards the median, as relaxing magnetisation does. A run that stops on its way is the level
    before a movement, and is judged among itself: so a movement costs a few frames at most.

    `signal`: ``(T,)`` one value per frame.

    >>> steady = np.tile([100.0, 101.0, 100.0, 99.0], 10)
    >>> leading_outliers(np.concatenate([[150, 120, 108], steady]))
    3
    >>> leading_outliers(np.concatenate([20 + steady[:12], steady]))
    0
    """
    distance = np.abs(signal - np.median(signal))
    usual = distance <= STEADY.outlier * _SIGMA_PER_MAD * np.median(distance)
    count = int(np.argmax(usual))  # there is a usual one: at least half of the values are
    run = distance[:count]
    if count <= STEADY.few or (_falls(run) and _falls(run[count // 2 :])):
        return count
    return leading_outliers(signal[:count])


def _falls(distance: Float64) -> bool:
    """Whether the later half is clearly below the earlier."""
    first, second = np.split(distance, [len(distance) // 2])
    return bool(second.mean() <= STEADY.fall * first.mean())

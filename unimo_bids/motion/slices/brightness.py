"""How much of a series' brightness spin history explains: ``signal = μ (1 + β (h - h̄))``.

h is predicted from the motion alone; its strength β is fitted to every voxel, no less than 0, and
drawn towards that of all voxels as far as its own frames leave it open. That is believed where it
explains frames which it was not fitted to: each half of the frames is predicted from the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unimo_bids.motion.slices.thresholds import HISTORY

_ROUNDS = 3
_AT_ONCE = 4096  # voxels: the sums of a long series need no more memory than it has
_LEAST_SPREAD = 0.01  # of the strength between voxels: they are never quite alike


@dataclass(frozen=True, eq=False)
class HistoryFit:
    """Strength of spin history in N voxels.

    Attributes
    ----------
    strength
        ``(N,)`` β, 0 and more; about 1 where physics is as predicted.
    level
        ``(N,)`` h̄, mean of what is predicted for them.
    common
        Strength in all voxels together.
    explained
        Share of the variance over time in frames that it was not fitted to, mean over all voxels;
        negative where history explains nothing.
    """

    strength: NDArray[np.float32]
    level: NDArray[np.float32]
    common: float
    explained: float

    def change(self, predicted: NDArray[np.float32]) -> NDArray[np.float32]:
        """Relative change ``(…, N)`` that history makes, by what is predicted."""
        return np.asarray(self.strength * (predicted - self.level))

    @property
    def worth(self) -> bool:
        """Whether it is to be removed."""
        return self.common > 0 and self.explained > HISTORY.worth


def fit_history(
    signal: NDArray[np.float32], predicted: NDArray[np.float32], used: NDArray[np.bool_]
) -> HistoryFit | None:
    """Fit the strength of history; None where frames are too few to tell.

    Parameters
    ----------
    signal
        ``(T, N)``; 0 where a frame did not see a voxel.
    predicted
        ``(T, N)`` signal relative to that at rest.
    used
        ``(T,)`` frames in steady state whose poses are known.
    """
    frames = np.flatnonzero(used)
    if len(frames) < HISTORY.fewest:
        return None
    # drawn, as a head may nod in every fourth frame
    drawn = np.random.default_rng(0).permutation(frames)
    halves = [_Sums(signal, predicted, part) for part in (drawn[::2], drawn[1::2])]
    unseen = [b.explained(a.strength()[0]) for a, b in (halves, halves[::-1])]
    sums = _Sums(signal, predicted, frames)
    strength, common = sums.strength()
    return HistoryFit(
        strength.astype(np.float32),
        sums.level.astype(np.float32),
        common,
        float(np.mean(unseen)),
    )


class _Sums:
    """Sums over frames of each voxel's relative signal r and history h, about their means."""

    def __init__(
        self,
        signal: NDArray[np.float32],
        predicted: NDArray[np.float32],
        used: NDArray[np.intp],
    ) -> None:
        voxels = signal.shape[1]
        self.count = np.zeros(voxels, dtype=np.int64)
        self.level, self.rr, self.hr, self.hh = np.zeros((4, voxels))
        for start in range(0, voxels, _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            self._add(part, signal[:, part][used], predicted[:, part][used])
        # a voxel that hardly any frame saw, or that history leaves alone, says nothing
        enough, moved = self.count >= HISTORY.fewest // 2, self.hh > HISTORY.least**2 * self.count
        self.tells = enough & moved & (self.rr > 0)

    def _add(
        self, part: slice, signal: NDArray[np.float32], predicted: NDArray[np.float32]
    ) -> None:
        seen = signal > 0
        many = np.maximum(seen.sum(axis=0), 1)
        mean = signal.sum(axis=0, where=seen, dtype=np.float64) / many
        level = predicted.sum(axis=0, where=seen, dtype=np.float64) / many
        r = np.where(seen, signal / np.maximum(mean, 1e-12) - 1, 0)
        h = np.where(seen, predicted - level, 0)
        self.count[part], self.level[part] = seen.sum(axis=0), level
        self.rr[part], self.hr[part], self.hh[part] = (r * r).sum(0), (h * r).sum(0), (h * h).sum(0)

    def strength(self) -> tuple[NDArray[np.float64], float]:
        """Of each voxel ``(N,)``, drawn towards that of all, and the latter."""
        out = np.zeros(len(self.rr))
        if not self.tells.any():
            return out, 0.0
        rr, hr, hh = (part[self.tells] for part in (self.rr, self.hr, self.hh))
        # weighing by what is left, not by all: history itself makes voxels vary
        common, weight = 0.0, np.ones(len(rr))
        for _ in range(_ROUNDS):
            common = max(0.0, float((weight * hr).sum() / (weight * hh).sum()))
            left = np.maximum(rr - 2 * common * hr + common**2 * hh, 1e-3 * rr)
            weight = 1 / left
        variance = left / (self.count[self.tells] - 2)
        own, error = hr / hh, variance / hh
        # between voxels, after DerSimonian & Laird: what spreads more than errors do
        weight = 1 / error
        excess = (weight * (own - common) ** 2).sum() - len(own)
        spread = max(excess / weight.sum(), _LEAST_SPREAD * common**2)
        out[self.tells] = np.maximum((own / error * spread + common) / (spread / error + 1), 0)
        return out, common

    def explained(self, strength: NDArray[np.float64]) -> float:
        """Share of the variance that a strength explains which was fitted to other frames."""
        left = self.rr - 2 * strength * self.hr + strength**2 * self.hh
        shares = 1 - left[self.tells] / self.rr[self.tells]
        return float(shares.sum() / max(1, (self.rr > 0).sum()))

"""The coils' sensitivity: fixed in the scanner, while the head moves through it.

A place x of the head, that frame t shows at y of the scanner, is seen as
``log s_t(x) = log f(x) + g_t + b · φ(y)``, with φ a few smooth waves. Only what motion makes
observable counts: both sides are taken about the mean of each place and of each frame. That is
believed where it explains frames that it was not fitted to, as spin history is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unimo_bids.motion.slices.thresholds import HISTORY, RECEIVE
from unimo_bids.registration.intensity import CAUCHY

_ORDER = 3  # half waves, of all axes together
_ORDERS = np.array(
    [(i, j, k) for i in range(4) for j in range(4) for k in range(4) if 0 < i + j + k <= _ORDER]
)
_BOX = 4.0  # radii of the head, that a half wave is long
_PLACES, _NUMBERS = 2_000, 1 << 23  # that a fit looks at, and keeps: of all waves there
_ROUNDS = 4
_SIGMA_PER_MAD = 1.4826
_LEAST_SIGMA = 0.01  # of brightness: no place is known better

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ReceiveField:
    """Logarithm of the coils' gain, in the scanner.

    Attributes
    ----------
    center, length
        ``(3,)`` mm, middle of the box that waves are of, and how long that is.
    strength
        ``(K,)`` of the waves.
    explained
        Share of the variance over time in frames that it was not fitted to, mean over all places;
        negative where it explains nothing.
    """

    center: NDArray[np.float64]
    length: float
    strength: NDArray[np.float64]
    explained: float

    def __call__(self, places: NDArray[np.float64]) -> Array:
        """Logarithm of the gain at places ``(N, 3)``, RAS mm in the scanner."""
        return np.asarray(waves(places, self.center, self.length) @ self.strength, np.float32)

    @property
    def worth(self) -> bool:
        """Whether it is to be removed."""
        return self.explained > HISTORY.worth


def waves(places: NDArray[np.float64], center: NDArray[np.float64], length: float) -> Array:
    """Products of half waves at places ``(…, 3)``: ``(…, K)``."""
    phase = np.pi * ((places - center) / length + 0.5)
    along = np.cos(phase[..., None] * np.arange(_ORDER + 1)).astype(np.float32)
    i, j, k = _ORDERS.T
    return np.asarray(along[..., 0, i] * along[..., 1, j] * along[..., 2, k])


def chosen_places(inside: NDArray[np.intp], frames: int) -> NDArray[np.intp]:
    """Those of some places that a fit to so many frames looks at, spread evenly."""
    most = min(len(inside), _PLACES, max(1, _NUMBERS // (len(_ORDERS) * frames)))
    return np.asarray(inside[np.linspace(0, len(inside) - 1, most).astype(int)])


def fit_receive(
    signal: Array,
    where: NDArray[np.float64],
    used: NDArray[np.bool_],
    center: NDArray[np.float64],
    radius: float,
) -> ReceiveField | None:
    """Fit the coils' gain; None where frames are too few to tell.

    Parameters
    ----------
    signal
        ``(T, N)``; 0 where a frame did not see a place.
    where
        ``(T, N, 3)`` RAS mm, places in the scanner.
    used
        ``(T,)`` frames whose poses are known.
    center, radius
        Of the head, mm.
    """
    frames = np.flatnonzero(used)
    if len(frames) < HISTORY.fewest or signal.shape[1] == 0:
        return None
    length = _BOX * radius
    shown = waves(where, center, length)
    drawn = np.random.default_rng(0).permutation(frames)  # as of spin history
    halves = [_Frames(signal[part], shown[part]) for part in (drawn[::2], drawn[1::2])]
    unseen = [b.explained(a.strength()) for a, b in (halves, halves[::-1])]
    strength = _Frames(signal[frames], shown[frames]).strength()
    return ReceiveField(center, length, strength, float(np.mean(unseen)))


class _Frames:
    """Logarithms and waves of F frames, about the means of their places and of the frames."""

    def __init__(self, signal: Array, shown: Array) -> None:
        logs = np.log(np.where(signal > 0, signal, np.nan))
        seen = np.abs(_about_medians(logs)) < np.log(RECEIVE.most)
        self.seen = seen & (seen.sum(axis=0) >= HISTORY.fewest // 2)
        logs = np.where(self.seen, logs, 0)
        self.logs = self._centred(logs[..., None])[..., 0]
        self.waves = self._centred(shown)

    def _centred(self, values: Array) -> Array:
        """``(F, N, K)``, 0 where nothing was seen; what is missing asks for rounds."""
        seen = self.seen[..., None]
        out = values * seen
        for _ in range(_ROUNDS):
            for axis in (0, 1):
                many = np.maximum(seen.sum(axis=axis, keepdims=True), 1)
                out = (out - out.sum(axis=axis, keepdims=True) / many) * seen
        return np.asarray(out, np.float32)

    def left(self, strength: NDArray[np.float64]) -> Array:
        """Logarithms ``(F, N)`` less what waves of a strength explain."""
        return np.asarray(self.logs - self.waves @ strength.astype(np.float32))

    def strength(self) -> NDArray[np.float64]:
        """Of all waves ``(K,)``; what motion does not tell stays near 0."""
        count = self.waves.shape[2]
        found = np.zeros(count)
        flat = self.waves.reshape(-1, count)
        for _ in range(_ROUNDS):
            left = self.left(found)
            apart = np.where(self.seen, np.abs(left), np.nan)
            apart[:, ~self.seen.any(axis=0)] = 1.0
            sigma = np.maximum(_SIGMA_PER_MAD * np.nanmedian(apart, axis=0), _LEAST_SIGMA)
            # a place at an edge, or one that is not the head's, does not pull
            robust = 1 + (left / (CAUCHY * sigma)) ** 2
            weights = (RECEIVE.count * self.seen / (sigma**2 * robust)).astype(np.float32)
            gram = (flat * weights.reshape(-1, 1)).T @ flat
            prior = np.eye(count) / RECEIVE.usual**2
            found = np.linalg.solve(gram + prior, flat.T @ (weights * self.logs).reshape(-1))
        return np.asarray(found, np.float64)

    def explained(self, strength: NDArray[np.float64]) -> float:
        """Share of the variance that a strength explains which was fitted to other frames."""
        varies = np.square(self.logs).sum(axis=0, dtype=np.float64)
        left = np.square(self.left(strength) * self.seen).sum(axis=0, dtype=np.float64)
        tells = varies > 0
        return float((1 - left[tells] / varies[tells]).mean()) if tells.any() else 0.0


def _about_medians(logs: Array) -> Array:
    """Logarithms ``(F, N)`` about the median of each frame, then of each place; NaN stays."""
    for axis in (1, 0):
        told = np.isfinite(logs).any(axis=axis, keepdims=True)
        logs = logs - np.nanmedian(np.where(told, logs, 0), axis=axis, keepdims=True)
    return logs

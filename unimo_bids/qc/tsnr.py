"""Temporal signal-to-noise ratio, from a stream of volumes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

_AT_ONCE = 1 << 14  # voxels: what is known of so many stays near the processor


class TemporalMoments:
    """Mean, standard deviation and linear trend of each voxel, one volume at a time.

    Welford's recurrence, with the moment of the signal about time beside it: nothing is summed
    that grows with the number of frames, so that a small noise on a large signal is not lost.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.count = 0
        self.mean: Float64 = np.zeros(shape)
        self._squares: Float64 = np.zeros(shape)  # Σ (x - x̄)²
        self._products: Float64 = np.zeros(shape)  # Σ (t - t̄)(x - x̄)
        self._time_mean = 0.0
        self._time_squares = 0.0  # Σ (t - t̄)²

    def update(self, volume: npt.NDArray[np.floating], time: float | None = None) -> None:
        """Take in a volume."""
        time = float(self.count) if time is None else time
        self.count += 1
        time_before = time - self._time_mean
        self._time_mean += time_before / self.count
        self._time_squares += time_before * (time - self._time_mean)
        share = 1 - 1 / self.count  # of the distance from the old mean, from the new one
        flat = [part.reshape(-1) for part in (self.mean, self._squares, self._products)]
        values = np.asarray(volume).reshape(-1)
        for start in range(0, values.size, _AT_ONCE):
            block = slice(start, start + _AT_ONCE)
            mean, squares, products = (part[block] for part in flat)
            delta = values[block] - mean
            mean += delta / self.count
            products += delta * (time_before * share)
            delta *= delta
            delta *= share
            squares += delta

    def std(self, detrend: bool = False) -> Float64:
        """Give the deviation over time, optionally about the linear trend; 0 if undetermined."""
        squares, parameters = self._squares, 1
        if detrend and self._time_squares > 0:
            # rounding may leave a perfect line slightly below its own trend
            squares = np.maximum(squares - self._products**2 / self._time_squares, 0)
            parameters = 2
        if self.count <= parameters:
            return np.zeros_like(squares)
        return np.sqrt(squares / (self.count - parameters))

    def tsnr(self, detrend: bool = True) -> npt.NDArray[np.float32]:
        """Mean over standard deviation; 0 where a voxel never changes."""
        std = self.std(detrend)
        # below the rounding of float32 volumes a deviation means nothing
        varies = std > 1e-6 * abs(self.mean)
        ratio = np.divide(self.mean, std, out=np.zeros_like(std), where=varies)
        return ratio.astype(np.float32)

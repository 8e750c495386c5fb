"""Signals of a whole series within a mask: global signal, DVARS, standardised DVARS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

# median of the brain after normalisation, so that DVARS can be compared between scanners
_GRAND_MEDIAN = 1000.0
_SIGMA_PER_IQR = 1 / 1.349  # of a normal distribution
# values worked on at a time: a few copies in float64 stay below 64 MiB
_BLOCK_VALUES = 2**20


@dataclass(frozen=True)
class SeriesSignals:
    """One number per frame for each signal of the whole brain.

    Attributes
    ----------
    global_signal
        ``(T,)`` mean within the mask of what the frame saw, in the units of the series.
    dvars
        ``(T,)`` root mean square change since the frame before, in thousandths of the median
        within the mask. NaN in the first frame, and throughout where that median is not positive.
    std_dvars
        ``(T,)`` the same as a multiple of what the voxels' own fluctuations let expect: 1 where
        nothing but noise happens, however short the series. NaN in the first frame, and throughout
        where no voxel varies.
    coverage
        ``(T,)`` share of the voxels inside that the frame saw.
    """

    global_signal: Float64
    dvars: Float64
    std_dvars: Float64
    coverage: Float64


def series_signals(
    series: Any, mask: npt.NDArray[Any], seen: npt.NDArray[np.bool_] | None = None
) -> SeriesSignals:
    """Measure global signal, DVARS and standardised DVARS in one pass over the frames.

    With ``d_v(t) = y_v(t) - y_v(t - 1)`` in the voxel v, ``DVARS(t) = √ mean_v d_v(t)²``
    (Power et al. 2012). Its expected size (Nichols 2013) is ``mean_v √(2 (1 - ρ_v)) σ_v``, with ρ
    the correlation of neighbouring frames and σ the standard deviation, from the interquartile
    range so that a few bad frames do not raise it; `std_dvars` is the ratio. Both are found too
    small or too large in short series, which is undone (`_share_of_noise`). Voxels whose
    interquartile range is zero take no part. A change is one only where both frames saw the place:
    a brain whose end leaves the field of view is not a frame gone wrong.

    Memory: the masked values of all frames once in float32, and blocks of bounded size.

    Parameters
    ----------
    series
        ``(X, Y, Z, T)``, anything that gives a frame for ``series[..., t]``: motion-corrected.
    mask
        ``(X, Y, Z)``, inside where above one half.
    seen
        ``(T, V)``, which of the V voxels inside each frame saw; None for all. A frame that saw
        half of them or less counts as if it had seen all: it has gone wrong.
    """
    inside = np.asarray(mask) > 0.5
    voxels, frames = int(inside.sum()), int(series.shape[3])
    if voxels == 0:
        raise ValueError("the mask is empty")
    values = np.empty((frames, voxels), dtype=np.float32)
    for t in range(frames):
        values[t] = np.asarray(series[..., t])[inside]

    seen = np.broadcast_to(True if seen is None else seen, values.shape)
    coverage = seen.mean(axis=1)
    if (coverage <= 0.5).any():
        seen = seen | (coverage <= 0.5)[:, None]
    expected, varying = 0.0, 0
    squares, pairs = np.zeros(frames - 1), np.zeros(frames - 1)
    for block, shown in zip(_voxel_blocks(values), _voxel_blocks(seen), strict=True):
        mean = (block * shown).sum(axis=1) / np.maximum(shown.sum(axis=1), 1)
        signal = np.where(shown, block - mean[:, None], 0)
        upper, lower = _quartiles(signal, shown > 0)
        varies = upper > lower
        sigma = (upper[varies] - lower[varies]) * _SIGMA_PER_IQR
        signal, both = signal[varies], (shown[:, 1:] * shown[:, :-1])[varies]
        squares += (both * np.square(np.diff(signal, axis=1))).sum(axis=0)
        pairs += both.sum(axis=0)
        rho = (signal[:, 1:] * signal[:, :-1]).sum(axis=1) / np.square(signal).sum(axis=1)
        expected += float((np.sqrt(2 * (1 - rho)) * sigma).sum())
        varying += len(signal)

    change = np.full(frames, np.nan)
    np.divide(squares, pairs, out=change[1:], where=pairs > 0)
    change = np.sqrt(change)
    median = _median(values if seen.all() else values[seen])
    return SeriesSignals(
        global_signal=values.mean(axis=1, dtype=np.float64, where=seen),
        dvars=change * (_GRAND_MEDIAN / median if median > 0 else np.nan),
        std_dvars=change
        * (varying / expected * _share_of_noise(frames) if expected > 0 else np.nan),
        coverage=coverage,
    )


def _quartiles(signal: Float64, shown: npt.NDArray[np.bool_]) -> tuple[Float64, Float64]:
    """Upper and lower quartile of what was seen in each row ``(V, T)``; equal where nothing was."""
    if shown.all():
        upper, lower = np.percentile(signal, (75, 25), axis=1, method="lower")
        return upper, lower
    ordered = np.sort(np.where(shown, signal, np.inf), axis=1)
    last = np.maximum(shown.sum(axis=1, keepdims=True) - 1, 0)
    upper, lower = (
        np.take_along_axis(ordered, (share * last).astype(np.intp), axis=1)[:, 0]
        for share in (0.75, 0.25)
    )
    return upper, lower


def _share_of_noise(frames: int) -> float:
    """Share of the standard deviation of white noise that is found in so many frames.

    Of N normal values the k-th in order is expected at ``Φ⁻¹((k - 3/8) / (N + 1/4))`` (Blom 1958),
    so the lower quartiles lie too near: 0.62 of 1.349 for 6 frames. The correlation of neighbours
    about their own mean is expected at ``-1 / N``, not 0.

    >>> [round(_share_of_noise(frames), 2) for frames in (6, 10, 20, 100, 1000)]
    [0.68, 0.8, 1.01, 1.0, 1.0]
    """
    lower, upper = (
        (int(share * (frames - 1)) + 5 / 8) / (frames + 1 / 4) for share in (0.25, 0.75)
    )
    return float(np.sqrt(1 + 1 / frames) * _SIGMA_PER_IQR * (ndtri(upper) - ndtri(lower)))


def _voxel_blocks(values: npt.NDArray[Any]) -> Iterator[Float64]:
    """Copies ``(voxels, T)`` of some columns of ``(T, V)`` at a time."""
    step = max(_BLOCK_VALUES // len(values), 1)
    for start in range(0, values.shape[1], step):
        yield np.ascontiguousarray(values[:, start : start + step].T, dtype=np.float64)


def _median(values: Float32) -> float:
    """Exact median without a copy of all values: only those near a sample's median are sorted."""
    flat = values.reshape(-1)
    low, high = np.quantile(flat[:: max(len(flat) // 100_003, 1)], (0.49, 0.51))
    below, near = 0, []
    for start in range(0, len(flat), _BLOCK_VALUES):
        block = flat[start : start + _BLOCK_VALUES]
        below += int(np.count_nonzero(block < low))
        near.append(block[(block >= low) & (block <= high)])
    middle = np.sort(np.concatenate(near))
    first, second = (len(flat) - 1) // 2 - below, len(flat) // 2 - below
    if first < 0 or second >= len(middle):  # the sample was not like the whole
        return float(np.median(flat))
    return (float(middle[first]) + float(middle[second])) / 2

"""Corrected frames at even times: what a voxel would show at one moment of every frame.

A place of the head is acquired when a slice comes there: at another time in every frame, where the
head moves. Its values are joined by a cubic spline over the frames' numbers, and that is read where
the times of acquisition, linear from frame to frame, reach the moment that is wanted. At rest this
is a cubic spline over even times; noise is nowhere raised, however close two times may come.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import spline_filter1d
from torch import Tensor

from unimo_bids.files.scratch import on_disk
from unimo_bids.motion.slices.trajectory import SliceTimes
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.warp import Warp

_AT_ONCE = 1 << 22  # values


@dataclass(frozen=True, eq=False)
class EvenTimes:
    """Frames as they were at one moment of each.

    Attributes
    ----------
    times
        When slices were acquired.
    share
        Of the way from the first slice's time to the last's: the moment that is wanted.
    """

    times: SliceTimes
    share: float

    @property
    def moment(self) -> float:
        """Of every frame, s after it began; to the millisecond, as fMRIPrep has it."""
        first, last = self.times.offsets.min(), self.times.offsets.max()
        return float(np.round(first + self.share * (last - first), 3))

    def __call__(
        self,
        frames: Iterator[NDArray[np.float32]],
        grid: Grid,
        warps: Sequence[Warp],
        used: NDArray[np.bool_],
        *,
        onto: Grid | None = None,
        space: Warp | None = None,
    ) -> Iterator[NDArray[np.float32]]:
        """Frames ``(X, Y, Z)``, one after the other.

        What a frame did not see (0) stays 0, and frames that are not used stay as they are; neither
        has a part in others. Nothing is extrapolated: before the first acquisition of a place its
        first value holds, after the last the last.

        Parameters
        ----------
        frames
            In the space of the reference.
        grid
            Of the raw series.
        warps
            Reference → volume, of each frame.
        used
            ``(T,)`` frames that show the head where it is, in steady state.
        onto, space
            As of `correct_series`, the grid of the frames and where its space is.
        """
        count, own = len(warps), onto or grid
        places = own.points() if space is None else space(own.points())
        made, offsets = (on_disk((count, *own.shape)) for _ in range(2))
        for t, frame in enumerate(frames):
            made[t] = frame
            offsets[t] = acquired(places, grid, self.times, warps[t]).reshape(own.shape)
        if used.any():
            values, when = (one.reshape(count, -1) for one in (made, offsets))
            width = max(1, _AT_ONCE // count)
            for first in range(0, values.shape[1], width):
                part = slice(first, first + width)
                values[:, part] = self._read(values[:, part], when[:, part], used)
        yield from (np.array(frame) for frame in made)

    def _read(
        self, values: NDArray[np.float32], when: NDArray[np.float32], used: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Values ``(T, N)`` at the moment, from these at the times ``(T, N)`` after each began."""
        known = used[:, None] & (values != 0)
        number = np.arange(len(values))[:, None]
        late = self.moment - when
        # to the next acquisition of a place, or from that before
        ahead = self.times.repetition_time + np.diff(when, axis=0)
        gap = np.where(late >= 0, np.append(ahead, ahead[-1:], 0), np.append(ahead[:1], ahead, 0))
        held = np.flatnonzero(used)
        place = np.clip(number + late / gap.clip(1e-6), held[0], held[-1])
        read = _spline(_filled(values, known)[held[0] : held[-1] + 1], place - held[0])
        return np.where(known, read, values).astype(np.float32)


def acquired(places: Tensor, grid: Grid, times: SliceTimes, warp: Warp) -> NDArray[np.float32]:
    """When places ``(N, 3)`` of the reference were acquired ``(N,)``, s after a frame began.

    Between two slices, which both have a part in it, that is between their times.

    Parameters
    ----------
    grid
        Of the frame.
    warp
        Reference → frame.
    """
    offsets = torch.from_numpy(times.offsets)
    position = rigid.transform(grid.to_index, warp(places))[:, times.axis]
    position = position.clamp(0, len(offsets) - 1)
    before = position.long().clamp(max=max(len(offsets) - 2, 0))
    found: Tensor = torch.lerp(offsets[before], offsets[before + 1], position - before)
    return found.float().numpy()


def _filled(values: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Values ``(T, N)``; where one is not known, the mean of the last before and the next after."""
    count = len(values)
    number = np.broadcast_to(np.arange(count)[:, None], values.shape)
    before = np.maximum.accumulate(np.where(known, number, -1), axis=0)
    after = np.minimum.accumulate(np.where(known, number, count)[::-1], axis=0)[::-1]
    first, last = np.where(before < 0, after, before), np.where(after == count, before, after)
    ends = [np.take_along_axis(values, one.clip(0, count - 1), axis=0) for one in (first, last)]
    return np.asarray(np.where(known, values, (ends[0] + ends[1]) / 2))


def _spline(values: NDArray[np.float32], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cubic B-spline through values ``(T, N)`` at numbers ``(T', N)``, each of its own column."""
    coefficients = spline_filter1d(values, axis=0, mode="mirror")
    last = len(values) - 1
    lower = np.clip(np.floor(at), 0, max(last - 1, 0)).astype(np.int64)
    f = at - lower
    weights: Sequence[NDArray[np.float64]] = (
        (1 - f) ** 3 / 6,
        2 / 3 - f**2 * (2 - f) / 2,
        2 / 3 - (1 - f) ** 2 * (1 + f) / 2,
        f**3 / 6,
    )
    read = np.zeros(at.shape)
    for tap, weight in enumerate(weights, start=-1):
        number = np.abs(lower + tap)
        number = np.where(number > last, 2 * last - number, number)
        read += weight * np.take_along_axis(coefficients, number, axis=0)
    return read

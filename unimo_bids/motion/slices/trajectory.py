"""A head's way through time: poses at knots, and what lies between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.spatial import rigid

# Per frame. Simulated heads that move smoothly (typical, severe) are .075, .20 mm off with two,
# .079, .17 with three and .081, .21 with four; those that nod within a frame .33, .094 and .15 mm
# in it. Of real ones that turn by 25° within a fifth of a frame, eight leave least
_KNOTS, _KNOTS_OF_TORN = 3, 8
AT_ONCE = 1e-3  # s: times in a sidecar are rounded to milliseconds, if at all


@dataclass(frozen=True, eq=False)
class SliceTimes:
    """When each slice of a frame is acquired.

    Attributes
    ----------
    axis
        Of the slices: 0, 1 or 2.
    offsets
        ``(S,)`` s after the frame began, by the slice's index along the axis.
    repetition_time
        s, from one frame to the next.
    """

    axis: int
    offsets: NDArray[np.float64]
    repetition_time: float

    def of(self, frame: int) -> Tensor:
        """Times ``(S,)`` of a frame's slices, s after the series began."""
        return torch.from_numpy(self.offsets) + frame * self.repetition_time

    def of_all(self, count: int) -> Tensor:
        """Times ``(T, S)`` of the slices of so many frames."""
        return torch.stack([self.of(t) for t in range(count)])

    def at(self, frames: Tensor, slices: Tensor) -> Tensor:
        """Times ``(N,)`` of slices in frames, both ``(N,)``, s after the series began."""
        return torch.from_numpy(self.offsets)[slices] + frames * self.repetition_time

    def knots(self, count: int) -> NDArray[np.float64]:
        """Where a frame's trajectory may bend, s after it began: at so many times, evenly spread.

        Where slices share fewer times, as packets do, at these: if every time lay between two
        knots, a head could swing to and fro there unseen.
        """
        ordered = np.sort(self.offsets)
        shared = ordered[np.append(True, np.diff(ordered) > AT_ONCE)]
        return shared if len(shared) <= count else np.arange(count) * self.repetition_time / count

    @property
    def middle(self) -> float:
        """Of a frame, s after it began: the mean time of its slices."""
        return float(self.offsets.mean())


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Poses at knots in time; between two of them the head turns and moves evenly.

    Attributes
    ----------
    times
        ``(K,)`` s, of the knots.
    knots
        ``(K, 4, 4)`` float64 RAS mm, reference → volume.
    center
        ``(3,)`` RAS mm, of the head in the reference.
    """

    times: Tensor
    knots: Tensor
    center: Tensor

    def between(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """The knot before each time, and how far on to the next it is, 0 … 1."""
        before = torch.searchsorted(self.times, times, right=True) - 1
        before = before.clamp(0, len(self.times) - 2)
        first, last = self.times[before], self.times[before + 1]
        return before, ((times - first) / (last - first)).clamp(0, 1)

    def at(self, times: Tensor) -> Tensor:
        """Poses ``(…, 4, 4)`` at times ``(…)``; beyond the first knot and the last, theirs."""
        before, fraction = self.between(times)
        return rigid.interpolate(self.knots[before], self.knots[before + 1], fraction, self.center)

    def bends(self, radius: float) -> tuple[Tensor, Tensor]:
        """How much the motion changes at a knot, ``(K - 2, 6)`` mm on the head's surface.

        That is the change of speed times the shorter of the steps beside the knot. Returns also how
        much of it a small motion of the knot before, of this and of the next makes, ``(K - 2, 3)``.
        """
        motion = away(self.knots[:-1], self.knots[1:], self.center, radius)
        steps = self.times.diff()
        shorter = torch.minimum(steps[:-1], steps[1:])
        before, after = shorter / steps[:-1], shorter / steps[1:]
        bends = after[:, None] * motion[1:] - before[:, None] * motion[:-1]
        return bends, torch.stack([before, -before - after, after], dim=1)

    def moved(self, steps: Tensor, radius: float) -> Trajectory:
        """Every knot after a small motion of the reference ``(K, 6)``, mm: ``T exp(δ)``."""
        center = self.center.expand(len(steps), 3)
        small = rigid.from_parameters(steps[:, :3] / radius, steps[:, 3:], center)
        return Trajectory(self.times, rigid.orthonormalized(self.knots @ small), self.center)


def away(one: Tensor, other: Tensor, center: Tensor, radius: float) -> Tensor:
    """Motions ``(…, 6)`` of the reference from poses to others: turn times radius, shift; mm."""
    onward = rigid.inverse(one) @ other
    turn, shift = rigid.to_parameters(onward, center.expand(*onward.shape[:-2], 3))
    return torch.cat([radius * turn, shift], dim=-1)


def through_frames(
    poses: Tensor, good: NDArray[np.bool_], times: SliceTimes, center: Tensor
) -> Trajectory:
    """A trajectory through the poses ``(T, 4, 4)`` of good frames.

    Three knots a frame, and eight in one that no single pose explains: there a head may jump.
    """
    places = np.flatnonzero(good)
    counts = np.where(good, _KNOTS, _KNOTS_OF_TORN).tolist()
    begun = np.arange(len(poses)) * times.repetition_time
    knots = [start + times.knots(count) for start, count in zip(begun, counts, strict=True)]
    at = np.append(np.concatenate(knots), begun[-1] + times.repetition_time)
    # where a time is among the good frames' middles
    middles = places * times.repetition_time + times.middle
    position = np.interp(at, middles, np.arange(len(places)))
    before = np.minimum(position.astype(int), max(len(places) - 2, 0))
    after = np.minimum(before + 1, len(places) - 1)
    known = poses[torch.from_numpy(places)]
    between = rigid.interpolate(
        known[before], known[after], torch.from_numpy(position - before), center
    )
    return Trajectory(torch.from_numpy(at), between, center)

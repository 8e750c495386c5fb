"""Spin history: how bright tissue is that comes into its slice too early or too late.

Every excitation by a flip angle α leaves ``M cos α`` of the magnetisation along the field, which
then grows back, ``1 - M`` falling as ``exp(-t / T1)``. At rest that settles; where the head moves
through its slices, tissue is excited sooner or later than after one repetition time, and twice or
not at all; beside a slice's middle it is turned by less than α. Slices come soon after or long
before their neighbours, so history differs from one to the next: it is predicted for the voxels of
a frame, and brought to the reference as these are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.slices.boxes import box_of
from unimo_bids.motion.slices.rebuilding import SEEN, evened, values_at
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid, voxel_centers
from unimo_bids.spatial.warp import SliceWise

# Grey matter at 3 T: 1.33 s (Wansapura 1999); with the field as its power .38 (Rooney 2007). How
# strong history is, is fitted: a wrong T1 costs little
_T1_AT_3T, _FIELD_POWER = 1.33, 0.38
_USUAL_FIELD = 3.0  # T, where nobody says
_MEMORY = 3  # frames: of four excitations by 50°, a sixth is left of what was before
LEAST_SIGNAL = 0.3  # of that at rest: more than threefold nothing is raised
IN_HEAD = 0.05  # of the head's weight, from which tissue goes with it
_BESIDE = (-1, 0, 1)  # slices that turn a place: the nearest and those beside it
# of a slice's profile, ½ at its borders: 2 is a Gaussian, more is nearer to a box. Convention
_EDGE = 3


@dataclass(frozen=True)
class Excitation:
    """What spin history depends on beside the motion.

    Attributes
    ----------
    flip_angle
        Degrees.
    t1
        s.
    repetition_time
        s, from one frame to the next.
    """

    flip_angle: float
    t1: float
    repetition_time: float

    @property
    def kept(self) -> float:
        """Magnetisation along the field after an excitation, of that before."""
        return math.cos(math.radians(self.flip_angle))

    @property
    def steady(self) -> float:
        """Magnetisation before each excitation, at rest."""
        left = math.exp(-self.repetition_time / self.t1)
        return (1 - left) / (1 - left * self.kept)


def usual_t1(field: float | None) -> float:
    """T1 of grey matter, s, by the scanner's field in T."""
    return float(_T1_AT_3T * ((field or _USUAL_FIELD) / _USUAL_FIELD) ** _FIELD_POWER)


class SpinHistory:
    """Signal that each frame's voxels get by the excitations before them.

    Parameters
    ----------
    grid
        Of the frames.
    axis, offsets
        Of the slices, as of `SliceTimes`.
    poses
        ``(T, S, 4, 4)`` of the slices, reference → slice; before the first frame the head rested.
    excitation
        What the sidecar says.
    """

    def __init__(
        self,
        grid: Grid,
        axis: int,
        offsets: NDArray[np.float64],
        poses: Tensor,
        excitation: Excitation,
    ) -> None:
        self.grid, self.axis = grid, axis
        self.warps = [SliceWise(grid, axis, own) for own in poses]
        self.offsets, self.excitation = torch.from_numpy(offsets), excitation

    def of_frame(self, t: int, head: Tensor) -> Tensor:
        """Signal relative to that at rest ``(X, Y, Z)``; 1 beyond the head.

        Parameters
        ----------
        head
            ``(X, Y, Z)`` weights in the reference.
        """
        places, own, where = self._voxels(t, head)
        magnetisation = torch.full((len(places),), self.excitation.steady, dtype=torch.float64)
        shown, last = magnetisation, torch.full_like(magnetisation, -torch.inf)
        for frame in range(t - _MEMORY, t + 1):
            numbers, angles, times = self._excited(frame, places)
            for number, angle, time in zip(numbers, angles, times, strict=True):
                left = torch.exp(-(time - last) / self.excitation.t1)
                before = torch.where(last.isinf(), magnetisation, 1 - (1 - magnetisation) * left)
                shown = torch.where(number == own, before, shown)
                magnetisation = before * torch.cos(angle)
                last = time
        signal = torch.ones(self.grid.shape)
        signal[where] = (shown / self.excitation.steady).float()
        return signal

    def at(self, t: int, head: Tensor, places: Tensor) -> Tensor:
        """The same at places ``(N, 3)`` of the reference, made from slices as frames are."""
        even = torch.ones(len(self.offsets))
        coefficients = evened(self.of_frame(t, head), self.axis, even)
        values, coverage = values_at(places, coefficients, self.warps[t])
        return torch.where(coverage > SEEN, values, 1.0)

    def _voxels(self, t: int, head: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Places in the reference ``(N, 3)`` that a frame's voxels show, their slices, indices."""
        # a voxel goes to the nearest place, half a voxel off along each axis, however it is turned
        rim = self.grid.sizes.norm() / 2 / self.grid.sizes + 1
        box = box_of(head > IN_HEAD, self.grid, self.warps[t].poses, self.grid, rim)
        low = torch.tensor([part.start for part in box])
        index = voxel_centers([part.stop - part.start for part in box]) + low
        places = self.warps[t].shown(index)
        at = rigid.transform(self.grid.to_index, places).round().long()
        size = torch.tensor(self.grid.shape)
        within = ((at >= 0) & (at < size)).all(dim=1)
        i, j, k = torch.minimum(at.clamp(min=0), size - 1).T
        chosen = torch.nonzero(within & (head[i, j, k] > IN_HEAD))[:, 0]
        index = index[chosen].long()
        return places[chosen], index[:, self.axis], index.unbind(dim=1)

    def _excited(self, frame: int, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Slices near each place, angles they turn it by (rad) and times ``(3, N)``, by time."""
        warp, slices = self.warps[max(frame, 0)], len(self.offsets)
        near = warp.nearest(places)
        numbers, angles, times = [], [], []
        largest = math.radians(self.excitation.flip_angle)
        for beside in _BESIDE:
            there = (near + beside >= 0) & (near + beside < slices)
            number = (near + beside).clamp(0, slices - 1)
            depth = warp.along(places, number) - number
            numbers.append(torch.where(there, number, -1))
            profile = torch.exp(-math.log(2) * (2 * depth).abs() ** _EDGE)
            angles.append(largest * profile * there)
            times.append(self.offsets[number] + frame * self.excitation.repetition_time)
        order = torch.stack(times).argsort(dim=0)
        by_time = (torch.stack(part).gather(0, order) for part in (numbers, angles, times))
        return next(by_time), next(by_time), next(by_time)

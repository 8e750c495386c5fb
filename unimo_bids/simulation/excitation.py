"""Spin history as the Bloch equations have it, for heads that move while slices are excited."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from unimo_bids.simulation.artefacts import Artefact, ContinuousMotion, Moment, acquisition_times
from unimo_bids.spatial import rigid

# s at 3 T, of what is as bright as white matter, grey matter and fluid are in EPI (`anatomy`):
# Wansapura 1999; fluid as free water
_BRIGHTNESS, ADULT_T1 = (840.0, 1020.0, 1480.0), (0.83, 1.33, 4.0)
FETAL_T1 = (2.2, 1.7, 4.0)  # before myelin, white matter has the longer; round numbers
_IN_SLICE = 0.02  # slices: what is rendered lies in the middle of one


@dataclass(frozen=True)
class SliceExcitation(Artefact):
    """Signal of tissue by all excitations of this frame's and earlier frames' slices.

    A slice turns magnetisation by ``flip_angle`` in its middle, less beside it (a Gaussian profile
    as wide as the slice is thick at half its height). Every tissue has its own T1.

    Parameters
    ----------
    motion
        Where the head is in every slice, and when that is.
    t1
        s, of white matter, grey matter and fluid.
    memory
        Frames that are looked back upon.
    """

    motion: ContinuousMotion
    flip_angle: float = 90.0
    t1: tuple[float, float, float] = ADULT_T1
    memory: int = 3

    def modulation(self, head_points: Tensor, moment: Moment) -> Tensor | None:
        """Signal relative to that of a head at rest, less one."""
        slices, tr = moment.shape[2], moment.repetition_time
        places = head_points.double()
        t1 = self._t1(places, moment)
        times = acquisition_times(slices, self.motion.interleave, self.motion.bands) * tr
        kept = torch.cos(torch.deg2rad(torch.tensor(self.flip_angle)))
        left = torch.exp(-tr / t1)
        steady = (1 - left) / (1 - left * kept)
        state, last = torch.ones_like(t1), -np.inf
        change = torch.zeros_like(t1)
        to_index = torch.linalg.inv(torch.from_numpy(moment.affine))
        for frame in range(moment.frame - self.memory, moment.frame + 1):
            shown = max(frame, 0)  # before the first frame it has rested
            poses = self.motion.slice_poses(moment.poses[shown], replace(moment, frame=shown))
            for k in np.argsort(times, kind="stable"):
                when = frame * tr + times[k]
                state = 1 - (1 - state) * torch.exp(-(when - last) / t1)
                last = when
                row = (to_index @ torch.from_numpy(poses[k]))[2]
                depth = places @ row[:3] + row[3] - float(k)
                if frame == moment.frame:
                    here = depth.abs() < _IN_SLICE
                    change[here] = (state / steady - 1)[here]
                angle = self.flip_angle * torch.exp(-4 * np.log(2) * depth**2)
                state = state * torch.cos(torch.deg2rad(angle))
        return change.float()

    def _t1(self, places: Tensor, moment: Moment) -> Tensor:
        head = moment.head
        index = rigid.transform(torch.linalg.inv(torch.from_numpy(head.affine)), places)
        size = torch.tensor(head.labels.shape)
        i, j, k = torch.minimum(index.round().long().clamp(min=0), size - 1).T
        bright = head.intensities[head.labels[i.numpy(), j.numpy(), k.numpy()]]
        return torch.from_numpy(np.interp(bright, _BRIGHTNESS, self.t1))

"""Frames without spin history, as slices are fitted: brightness that motion makes would move them.

History differs from one slice to the next, as motion does. It follows from the trajectory, the
slices' times and what the sidecar says; no number of it is fitted here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.files.scratch import on_disk
from unimo_bids.motion.frames import Frames, Seen
from unimo_bids.motion.slices.history import LEAST_SIGNAL, Excitation, SpinHistory
from unimo_bids.motion.slices.judge import agreed
from unimo_bids.motion.slices.trajectory import SliceTimes
from unimo_bids.spatial.region import Region

_EXPLAINED = 1 - 1e-6  # of correlation, at most


class WithoutHistory(Seen):
    """Frames divided by what the excitations before them made of their brightness.

    Parameters
    ----------
    poses
        ``(T, S, 4, 4)`` of slices.
    """

    def __init__(
        self,
        frames: Frames,
        head: Region,
        times: SliceTimes,
        poses: Tensor,
        excitation: Excitation,
    ) -> None:
        super().__init__(frames)
        self._history = SpinHistory(frames.grid, times.axis, times.offsets, poses, excitation)
        self._head = head.weights
        self._signal = on_disk((len(poses), *frames.grid.shape))  # of long series, much memory
        self._known = np.zeros(len(poses), dtype=bool)

    def __call__(self, indices: Sequence[int]) -> Tensor:
        """Frames at these indices."""
        wanted = np.asarray(indices, dtype=int)
        for t in wanted[~self._known[wanted]].tolist():  # most are never asked for, if in vain
            signal = self._history.of_frame(t, self._head)
            self._signal[t], self._known[t] = signal.clamp(min=LEAST_SIGNAL).numpy(), True
        return self._frames(indices) / torch.from_numpy(np.array(self._signal[wanted]))


def clearly_more_alike(before: NDArray[np.float64], after: NDArray[np.float64]) -> bool:
    """Whether frames ``(N,)`` agree that less is left, by correlations with the template."""
    left = [np.log1p(-np.square(np.minimum(one, _EXPLAINED))) for one in (before, after)]
    return agreed(left[0] - left[1])

"""Where frames may be before anything is compared: by the network, and by masks of every frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.frames import Frames
from unimo_bids.registration.pose_finder import PoseFinder, Representation
from unimo_bids.spatial.region import Region, centroid
from unimo_bids.words import Fusion


class Guesses:
    """Poses of a series' frames; the network looks at each frame once.

    Parameters
    ----------
    mask
        ``(X, Y, Z, T)`` of every frame; any other mask says nothing here.
    reference
        The frame that poses are relative to.
    head
        In the reference.
    fusion
        How the network brings together image and shape.
    """

    def __init__(
        self,
        frames: Frames,
        mask: NDArray[Any] | None,
        reference: int,
        head: Region,
        fusion: Fusion,
    ) -> None:
        self.frames, self.reference, self.head = frames, reference, head
        self.masks = mask if mask is not None and mask.ndim == 4 else None
        self.fusion = fusion
        self._poses: dict[int, Tensor] = {}
        self._looks: dict[tuple[int, bool], Representation] = {}

    def __call__(self, wanted: NDArray[np.int_]) -> Tensor:
        """The network's poses ``(F, 4, 4)`` of some frames."""
        finder = PoseFinder(self.head.radius, self.frames.device, self.fusion)
        for t in wanted.tolist():
            if t not in self._poses:
                self._poses[t] = self._pose(finder, t)
        return torch.stack([self._poses[t] for t in wanted.tolist()])

    def _pose(self, finder: PoseFinder, t: int) -> Tensor:
        masked = self._mask(t) is not None
        fixed = self._look(finder, self.reference, masked)
        return finder.pose(fixed, self._look(finder, t, masked))[0]

    def looks(self, wanted: NDArray[np.int_]) -> list[Representation]:
        """Some frames as the network sees them, each by its mask if it has one."""
        finder = PoseFinder(self.head.radius, self.frames.device, self.fusion)
        return [self._look(finder, t, self._mask(t) is not None) for t in wanted.tolist()]

    def _look(self, finder: PoseFinder, t: int, masked: bool) -> Representation:
        """A frame by its mask, or all that is where the head is in the reference."""
        if (t, masked) not in self._looks:
            mask = self._mask(t) if masked else None
            center = None if masked and t != self.reference else self.head.center
            volume = self.frames([t])[0]
            self._looks[t, masked] = finder.look(volume, self.frames.grid, mask, center)
        return self._looks[t, masked]

    def by_masks(self) -> Tensor | None:
        """Poses ``(T, 4, 4)`` by where masks put the head; they know nothing of its turns."""
        if self.masks is None:
            return None
        poses = torch.eye(4, dtype=torch.float64, device=self.frames.device)
        poses = poses.repeat(self.frames.count, 1, 1)
        for t in range(self.frames.count):
            mask = self._mask(t)
            if mask is not None:
                poses[t, :3, 3] = centroid(mask, self.frames.grid) - self.head.center
        return poses

    def _mask(self, t: int) -> Tensor | None:
        """Mask of a frame, if it shows anything."""
        if self.masks is None:
            return None
        mask = torch.from_numpy(self.masks[..., t].astype(np.float32)).to(self.frames.device)
        return mask if bool((mask > 0.5).any()) else None

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
        self._fixed: dict[bool, Representation] = {}

    def __call__(self, wanted: NDArray[np.int_]) -> Tensor:
        """The network's poses ``(F, 4, 4)`` of some frames."""
        finder = PoseFinder(self.head.radius, self.frames.device, self.fusion)
        for t in wanted.tolist():
            if t not in self._poses:
                self._poses[t] = self._pose(finder, t)
        return torch.stack([self._poses[t] for t in wanted.tolist()])

    def _pose(self, finder: PoseFinder, t: int) -> Tensor:
        mask = self._mask(t)
        masked = mask is not None
        if masked not in self._fixed:
            of_reference = self._mask(self.reference) if masked else None
            self._fixed[masked] = self._look(finder, self.reference, of_reference, self.head.center)
        moving = self._look(finder, t, mask, None if masked else self.head.center)
        return finder.pose(self._fixed[masked], moving)[0]

    def _look(
        self, finder: PoseFinder, t: int, mask: Tensor | None, center: Tensor | None
    ) -> Representation:
        return finder.look(self.frames([t])[0], self.frames.grid, mask, center)

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

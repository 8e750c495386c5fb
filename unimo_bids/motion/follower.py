"""Frames as they come: each is registered when it is there, and nothing after it is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unimo_bids.motion.refinement import refine_frames
from unimo_bids.motion.scan import read_scan
from unimo_bids.motion.settings import MotionSettings
from unimo_bids.motion.tracking import Targets, register_roughly
from unimo_bids.spatial import rigid


@dataclass(frozen=True)
class Followed:
    """A frame's pose ``(4, 4)``, its covariance ``(6, 6)`` and similarity, as `MotionEstimate`."""

    pose: NDArray[np.float64]
    covariance: NDArray[np.float64]
    similarity: float


class Follower:
    """Follow a head from frame to frame, as in real time.

    Each frame is tried from rest, from the pose before and on along the motion. There is no search
    and no template: what those cost, nobody can wait for.

    Parameters
    ----------
    reference
        ``(X, Y, Z)``
    affine, mask, device, settings
        As of `estimate_motion`.

    Examples
    --------
    >>> follower = Follower(first, affine, mask)                  # doctest: +SKIP
    >>> for frame in scanner:                                     # doctest: +SKIP
    ...     follower.push(frame).pose
    """

    def __init__(
        self,
        reference: NDArray[Any],
        affine: NDArray[np.float64],
        mask: NDArray[Any] | None = None,
        device: str | torch.device = "cpu",
        settings: MotionSettings | None = None,
    ) -> None:
        with torch.inference_mode():
            scan = read_scan(np.asarray(reference)[..., None], affine, mask, 0, device, settings)
            image, settings = scan.reference_image[None], scan.settings
            level, points = scan.coarse.level, settings.coarse_points
            self._targets = Targets(
                stiff=scan.target(image, level, points, "gain"),
                flexible=scan.target(image, level, points, "bias"),
            )
            self._fine = scan.target(image, scan.fine, settings.fine_points, "bias")
            self._frames, self._tolerance = scan.frames, settings.tolerance
            self._poses = torch.eye(4, dtype=torch.float64, device=device).repeat(2, 1, 1)

    def push(self, frame: NDArray[Any]) -> Followed:
        """The pose of the next frame ``(X, Y, Z)``."""
        with torch.inference_mode():
            frames = self._frames.of(np.asarray(frame)[..., None])
            before, last = self._poses
            onward = last @ rigid.inverse(before) @ last
            rest = torch.eye(4).to(last)
            level = self._targets.stiff.level
            rough = register_roughly(
                self._targets,
                level.image(frames([0])).expand(3, -1, -1, -1),
                torch.stack([rest, last, onward]),
            )
            best = int((rough.similarity * (rough.in_view / 0.5).clamp(max=1)).argmax())
            start = rough.poses[best : best + 1]
            wanted = np.ones(1, dtype=bool)
            found = refine_frames(frames, self._fine, start, wanted, tolerance=self._tolerance)
            self._poses = torch.stack([last, found.poses[0]])
        return Followed(
            found.poses[0].cpu().numpy(),
            found.covariance[0].cpu().numpy(),
            float(found.similarity[0]),
        )

"""Frames as they come: each is registered when it is there, and nothing after it is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unimo_bids.motion.quality import Predicted, similarity_threshold
from unimo_bids.motion.refinement import refine_frames
from unimo_bids.motion.scan import read_scan
from unimo_bids.motion.settings import MotionSettings
from unimo_bids.motion.spaer import FEWEST, ahead
from unimo_bids.motion.tracking import Targets, register_roughly
from unimo_bids.spatial import rigid

_PAST = 24  # frames that a prediction draws on: what came before says no more of what comes


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
    ...     next_one = follower.predict([2.0]).poses[0]
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
            self._step_s, self._pushed = settings.repetition_time, 0
            self._past: list[tuple[int, Followed]] = []
            self._center, self._radius = scan.head.center.cpu(), scan.head.radius

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
            best = int(rough.score.argmax())
            start = rough.poses[best : best + 1]
            wanted = np.ones(1, dtype=bool)
            found = refine_frames(frames, self._fine, start, wanted, tolerance=self._tolerance)
            self._poses = torch.stack([last, found.poses[0]])
        followed = Followed(
            found.poses[0].cpu().numpy(),
            found.covariance[0].cpu().numpy(),
            float(found.similarity[0]),
        )
        self._past = [*self._past, (self._pushed, followed)][-_PAST:]
        self._pushed += 1
        return followed

    def predict(self, seconds: Sequence[float]) -> Predicted:
        """Where the head will be, so many seconds after the middle of the last frame.

        The next volume is a repetition time ahead, its slices earlier and later. What heads do next
        is mostly chance: the answer is near the last pose, and its covariance says how near. Before
        a few frames have been registered it is the last pose, with an unknown covariance (NaN).
        """
        similarity = np.array([one.similarity for _, one in self._past])
        good = similarity >= similarity_threshold(similarity)
        if good.sum() < FEWEST:
            poses = self._poses[-1].cpu().repeat(len(seconds), 1, 1)
            return Predicted(poses, torch.full((len(seconds), 6, 6), torch.nan).double())
        times = self._step_s * torch.tensor([float(number) for number, _ in self._past])
        return ahead(
            torch.from_numpy(np.stack([one.pose for _, one in self._past])),
            torch.from_numpy(np.stack([one.covariance for _, one in self._past])),
            good,
            times.double(),
            self._center,
            self._radius,
            times[-1].double() + torch.tensor(seconds).double(),
        )

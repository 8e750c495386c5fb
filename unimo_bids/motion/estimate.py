"""Motion of a series: rough, from tracking, and as it is given out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unimo_bids.words import Mode


@dataclass(frozen=True)
class Tracking:
    """Rough poses of a series of T frames, good to about a millimetre: where refinement starts.

    Attributes
    ----------
    reference
        Index of the frame that all poses are relative to.
    poses
        ``(T, 4, 4)`` float64 RAS mm, reference → volume.
    similarity
        ``(T,)`` of each frame with the reference at its pose; NaN without image.
    searched
        ``(T,)`` bool, found only by the global search.
    contrasts
        Whether the contrast changes from frame to frame.
    findings
        What was decided, and by how much, a sentence each.
    covariance
        ``(T, 6, 6)`` as of `MotionEstimate`, where the tracker knows it.
    partial
        ``(T,)`` bool, a part of the head has no signal: found by the rest.
    compared
        The frame that frames are to be compared with, where that is not the reference.
    predicted
        ``(T, 4, 4)`` what the covariance belongs to, if it is not `poses`: where the series as a
        whole has the head, before each frame was registered.
    """

    reference: int
    poses: NDArray[np.float64]
    similarity: NDArray[np.float64]
    searched: NDArray[np.bool_]
    contrasts: bool = False
    findings: tuple[str, ...] = ()
    covariance: NDArray[np.float64] | None = None
    predicted: NDArray[np.float64] | None = None
    partial: NDArray[np.bool_] | None = None
    compared: int | None = None

    @classmethod
    def at_rest(cls, frames: int, reference: int) -> Tracking:
        """No motion, for a series that has been corrected."""
        poses = np.tile(np.eye(4), (frames, 1, 1))
        return cls(reference, poses, np.ones(frames), np.zeros(frames, dtype=bool))


@dataclass(frozen=True)
class MotionEstimate:
    """Head motion of a series of T frames.

    Attributes
    ----------
    poses
        ``(T, 4, 4)`` float64 RAS mm, reference → volume; the reference's is the identity.
    covariance
        ``(T, 6, 6)`` of a small motion of the reference before the pose: rotation vector (rad)
        about `center` and translation (mm).
    similarity
        ``(T,)`` correlation of each frame with the template at its pose, 0 … 1; NaN without image.
    status
        ``(T,)`` str: ``ok``; ``searched`` (found only by the global search); ``bridged`` (not
        registered: taken from the frames around it); ``lost`` (no pose to believe).
    template
        ``(X, Y, Z)`` float32 robust mean of aligned frames, on the grid of the series.
    mask
        ``(X, Y, Z)`` float32 soft weights of the head.
    reference
        Index of the frame that all poses are relative to.
    center
        ``(3,)`` RAS mm, centre of the masked head in the reference.
    radius
        mm, of a ball with the masked head's volume.
    mode
        What explains the frames: ``plain``, one image; ``common``, the few images that contrasts
        which change are made of; ``tied``, other frames, a pair at a time; ``rest``, no motion.
    findings
        What was decided about the series and by how much, a sentence each.
    moving
        ``(X, Y, Z)`` float32 what of the mask goes with the head; None: all of it.
    """

    poses: NDArray[np.float64]
    covariance: NDArray[np.float64]
    similarity: NDArray[np.float64]
    status: NDArray[np.str_]
    template: NDArray[np.float32]
    mask: NDArray[np.float32]
    reference: int
    center: NDArray[np.float64]
    radius: float
    mode: Mode = "plain"
    findings: tuple[str, ...] = ()
    moving: NDArray[np.float32] | None = None

    @property
    def weights(self) -> NDArray[np.float32]:
        """What registration looks at, ``(X, Y, Z)``."""
        return self.mask if self.moving is None else self.moving

    @property
    def registered(self) -> NDArray[np.bool_]:
        """Frames ``(T,)`` with a pose of their own, which is to be believed."""
        return np.isin(self.status, ("ok", "searched"))

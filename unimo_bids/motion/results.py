"""What an estimate of motion depends on, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unimo_bids.networks.pose import Fusion

# What explains the frames: one image; the few images that all contrasts are made of; frames of
# other contrast, a pair at a time; or nothing, as no motion at all explains them better.
Mode = Literal["plain", "common", "tied", "rest"]


@dataclass(frozen=True)
class MotionSettings:
    """What an estimate depends on besides the data.

    Attributes
    ----------
    fine_blur
        Standard deviation of the blur at full resolution, in (the largest) voxel edges. Less
        blur lets aliasing bias the pose, more drowns it in noise.
    fine_points
        Points used at full resolution, those with most information.
    coarse_points
        The same for tracking.
    tolerance
        Refinement stops when a step moves the head by less, mm.
    template
        Register to the robust mean of aligned frames (second pass), not to the reference alone.
    search
        Search all rotations for frames that are not explained otherwise.
    network
        Ask the pose network before.
    fusion
        How it brings together image and shape.
    refine
        Without it, poses are the network's, as they stand.
    """

    fine_blur: float = 0.7
    fine_points: int = 20_000
    coarse_points: int = 8_192
    tolerance: float = 0.005
    template: bool = True
    search: bool = True
    network: bool = True
    fusion: Fusion = "information"
    refine: bool = True


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
    """

    reference: int
    poses: NDArray[np.float64]
    similarity: NDArray[np.float64]
    searched: NDArray[np.bool_]
    contrasts: bool = False
    findings: tuple[str, ...] = ()

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
        ``(X, Y, Z)`` float32 soft weights that registration used.
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

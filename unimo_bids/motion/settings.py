"""What an estimate of motion depends on besides the data."""

from __future__ import annotations

from dataclasses import dataclass

from unimo_bids.words import Fusion, TrackerName


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
        Without it, poses are the tracker's, as they stand.
    tracker
        Who finds rough poses and bridges what is lost: a search from the cheapest start, or the
        network that attends to the whole series (`spaer`).
    repetition_time
        s, from frame to frame.
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
    tracker: TrackerName = "auto"
    repetition_time: float = 2.0

"""From coarse to fine: what is compared while a trajectory is followed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """Of a fit from coarse to fine.

    Attributes
    ----------
    blur
        Voxels in the slices' plane.
    iterations
        At most.
    slack
        Times that bends may be wider than the series' own.
    tolerance
        mm.
    points
        Of a frame, those with most information.
    """

    blur: float
    iterations: int
    slack: float
    tolerance: float
    points: int


STAGES = (
    Stage(3.0, 12, 10.0, 0.2, 4_000),
    Stage(2.0, 8, 5.0, 0.1, 8_000),
    Stage(1.0, 6, 2.0, 0.05, 8_000),
    Stage(0.7, 8, 1.0, 0.02, 12_000),
)

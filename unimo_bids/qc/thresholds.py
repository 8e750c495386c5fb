"""Thresholds of quality control, with their origins."""

from __future__ import annotations

from dataclasses import dataclass

from unimo_bids.origins import convention, derived


@dataclass(frozen=True)
class Steady:
    """Frames at the start that are not in steady state."""

    frames: int = convention(50, "of the start that are looked at")
    outlier: float = convention(3.5, "modified z-score (Iglewicz & Hoaglin 1993)")
    few: int = convention(3, "leading outliers that are believed as they are: they cost little")
    fall: float = derived(
        0.85,
        "excess in the later half over that in the earlier, of more than these: T1 = 4 s (fluid) "
        "at TR = .4 s gives .82 over four frames, a level before a movement 1",
    )


@dataclass(frozen=True)
class Coverage:
    """Share of the brain that a frame covers."""

    least: float = convention(0.9, "of the brain; what is missing is interpolated by no model")


STEADY = Steady()
COVERAGE = Coverage()

"""The brain in a series: in its reference, and in every frame where the head is free to turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from unimo_bids.brain.advice import advised
from unimo_bids.brain.choice import Method, extract_brain
from unimo_bids.brain.following import follow_series
from unimo_bids.brain.mask import BrainMask, Population, population_of_size
from unimo_bids.brain.unimo import METHOD, BrainFinder
from unimo_bids.files.series import Series
from unimo_bids.motion.masks import too_small


@dataclass(frozen=True)
class SeriesBrain:
    """What was found.

    Attributes
    ----------
    brain
        In the reference.
    population
        Whose it is; by its size where that was not known.
    frame_masks
        ``(X, Y, Z, T)`` uint8, or None where the brain was not followed.
    warnings
        A sentence each.
    """

    brain: BrainMask
    population: Population
    frame_masks: NDArray[np.uint8] | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def motion_mask(self) -> NDArray[np.generic] | None:
        """What registration should look at; None for all that is not air."""
        if self.frame_masks is not None:
            return self.frame_masks
        return self.brain.probability if self.brain.usable else None


def find_series_brain(
    series: Series,
    reference: int,
    volume: NDArray[np.generic] | None = None,
    method: Method = "auto",
    *,
    population: Population | None = None,
    center: Sequence[float] | None = None,
    follow: bool = False,
    device: str = "cpu",
    progress: Callable[[float], None] = lambda _share: None,
) -> SeriesBrain:
    """Find the brain in the reference, and follow that of a fetus through all frames.

    Parameters
    ----------
    series
        Where.
    reference
        The frame to begin in.
    volume
        ``(X, Y, Z)`` in its place, if the reference is not of the series.
    method, population, center, device
        As of `extract_brain`.
    follow
        Any brain, not only a fetal one.
    progress
        Told the share done.
    """
    if volume is None:
        volume = series.frame(reference)
    brain = extract_brain(
        volume, series.affine, method, population=population, center=center, device=device
    )
    fault = too_small(brain.mask, series.affine)
    if fault is not None:
        brain = replace(brain, doubts=(*brain.doubts, f"it {fault}"), usable=False)
    warnings = []
    if brain.doubts:
        listed = "; ".join(advised(brain, pointed=center is not None))
        warnings.append(f"The brain mask is uncertain: {listed}. Look at it before all else.")
    if not brain.usable:
        warnings.append(
            "Motion is that of all tissue in view. If that is not the head's, give brain masks."
        )
    whose = population or population_of_size(brain.radius_mm)
    followed = (follow or whose == "fetal") and series.shape[3] > 1
    if not (followed and brain.usable and brain.method == METHOD):
        return SeriesBrain(brain, whose, warnings=warnings)
    finder = BrainFinder(series.affine, device)
    way = follow_series(finder, series.frame, series.shape[3], reference, brain.mask, progress)
    way.masks[..., reference] = brain.mask  # what was judged is what registration looks at
    return SeriesBrain(brain, whose, way.masks, warnings + way.warnings())

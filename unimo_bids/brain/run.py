"""The brain in a series: in its reference, and in every frame where the head is free to turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from unimo_bids.brain.advice import advised
from unimo_bids.brain.extraction import extract_brain
from unimo_bids.brain.finder import METHOD, BrainFinder
from unimo_bids.brain.head import refusing, unfit
from unimo_bids.brain.mask import (
    SURE,
    BrainMask,
    brain_radius,
    outlined,
    population_of_size,
)
from unimo_bids.brain.place import OPTION, locate
from unimo_bids.brain.propagation import follow_series
from unimo_bids.brain.voting import Vote, vote
from unimo_bids.devices import on_device
from unimo_bids.files.series import Series
from unimo_bids.words import BrainMethod, Population

_MORE = 4  # frames that are looked at, at most, where the reference is unclear


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
        ``(X, Y, Z, T)`` uint8, each as `outlined`; None where the brain was not followed.
    """

    brain: BrainMask
    population: Population
    frame_masks: NDArray[np.uint8] | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def motion_mask(self) -> NDArray[np.generic] | None:
        """What registration should look at; None for all that is not air."""
        if self.frame_masks is not None:
            return (self.frame_masks == SURE).view(np.uint8)
        return self.brain.probability if self.brain.usable else None


def find_series_brain(
    series: Series,
    reference: int,
    volume: NDArray[np.generic] | None = None,
    method: BrainMethod = "auto",
    *,
    population: Population | None = None,
    place: str | None = None,
    place_from: str = OPTION,
    follow: bool = False,
    device: str = "cpu",
    progress: Callable[[float], None] = lambda _share: None,
) -> SeriesBrain:
    """Find the brain in the reference, and follow that of a fetus through all frames.

    Where the reference alone does not tell, a few other frames are looked at as well (`vote`).

    Parameters
    ----------
    volume
        ``(X, Y, Z)`` in its place, if the reference is not of the series.
    method, population, device
        As of `extract_brain`.
    place, place_from
        In the brain, as `brain.place` has it, and who says so, for the refusal; with a place, no
        other frame is asked. None for anywhere.
    follow
        Any brain, not only a fetal one.
    """
    center = None if place is None else locate(place, series, place_from)
    find = partial(_find, series, reference, volume, method, population, center, follow, progress)
    with refusing(series.path):
        return on_device(find, device)


def _find(
    series: Series,
    reference: int,
    volume: NDArray[np.generic] | None,
    method: BrainMethod,
    population: Population | None,
    center: Sequence[float] | None,
    follow: bool,
    progress: Callable[[float], None],
    device: str,
) -> SeriesBrain:
    reference_volume = series.frame(reference) if volume is None else volume
    extracted = partial(extract_brain, population=population, device=device)

    def frame(t: int) -> NDArray[np.generic]:
        return reference_volume if t == reference else series.frame(t)

    def look(t: int, place: Sequence[float] | None = None) -> BrainMask:
        # about a place only the networks look
        way: BrainMethod = method if place is None else "unimo"
        return extracted(frame(t), series.affine, way, center=place)

    if center is not None or method == "epi":
        voted = Vote(extracted(reference_volume, series.affine, method, center=center), reference)
    else:
        voted = vote(look, frame, series.affine, reference, _others(series, reference))
    brain = voted.brain
    sure = brain.probability > 0.5  # what registration looks at
    fault = unfit(sure, series.affine)
    if fault is not None:
        brain = replace(brain, doubts=(*brain.doubts, f"it {fault}"), usable=False)
    warnings = [*voted.warnings]
    if brain.doubts:
        listed = "; ".join(advised(brain, pointed=center is not None))
        warnings.append(
            f"The brain mask is uncertain: {listed}. Check the mask before using the results."
        )
    if not brain.usable:
        warnings.append(
            "Motion is that of all tissue in view. If that is not the head's, give brain masks."
        )
    whose = population or population_of_size(brain_radius(sure, series.affine))
    followed = (follow or whose == "fetal") and series.shape[3] > 1
    if not (followed and brain.usable and brain.method == METHOD):
        return SeriesBrain(brain, whose, warnings=warnings)
    finder = BrainFinder(series.affine, device)
    judged = outlined(brain.probability, series.affine)
    way = follow_series(finder, series.frame, series.shape[3], voted.frame, judged, progress)
    way.masks[..., reference] = judged
    return SeriesBrain(brain, whose, way.masks, warnings + way.warnings())


def _others(series: Series, reference: int) -> list[int]:
    """A few frames spread through the series, the nearest to the reference first."""
    spread = np.linspace(0, series.shape[3] - 1, _MORE + 2)[1:-1].round().astype(int).tolist()
    apart = set(spread) - {reference, *series.empty_frames}
    return sorted(apart, key=lambda t: (abs(t - reference), t))

"""Which way the brain is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from unimo_bids.brain import epi
from unimo_bids.brain.mask import BrainMask, Population
from unimo_bids.brain.unimo import UNCLEAR, BrainFinder
from unimo_bids.motion.masks import above_air

Method = Literal["auto", "unimo", "epi"]

NOTHING = "no brain was found"
UNSURE = "it may be no brain"
_SURE = 0.5  # confidence: from here on it is more likely a brain than not


def extract_brain(
    volume: NDArray[np.generic],
    affine: NDArray[np.float64],
    method: Method = "auto",
    *,
    population: Population | None = None,
    center: Sequence[float] | None = None,
    device: str = "cpu",
) -> BrainMask:
    """Find the brain in one volume.

    Parameters
    ----------
    volume
        ``(X, Y, Z)``
    affine
        ``(4, 4)`` indices → RAS mm.
    method
        ``unimo``: by trained networks; ``epi``: by intensity and shape, for a head in air;
        ``auto``: by the networks, and by intensity and shape where these see nothing, or nothing
        clear.
    population
        Whose brain it should be, if known.
    center
        ``(3,)`` RAS mm of a place within it, if a person has seen it.
    device
        Where to compute.

    Returns
    -------
    BrainMask
        If there is no brain, one that is not `usable`, with all that the other way took for one.

    Raises
    ------
    NoImageError
        If there is nothing to see at all.
    """
    finite = np.nan_to_num(np.asarray(volume, dtype=np.float32), posinf=0, neginf=0)
    volume = above_air(torch.from_numpy(np.ascontiguousarray(finite))).numpy()
    if method == "epi":
        return epi.find_brain(volume, affine)
    finder = BrainFinder(affine, device)
    found = finder.judged(finder.find(volume, population, center), volume, population)
    if found is not None and center is None and _unsure(found):
        found = replace(found, doubts=(*found.doubts, UNSURE))
    if found is not None and (method == "unimo" or UNCLEAR not in found.doubts):
        return found
    simple = epi.find_brain(volume, affine)
    seen = center is None or _holds(simple, affine, center)
    if method == "auto" and simple.usable and seen:
        return simple
    return found or replace(simple, doubts=(NOTHING,), usable=False)


def _unsure(brain: BrainMask) -> bool:
    return bool(brain.candidates) and brain.candidates[0].confidence < _SURE


def _holds(brain: BrainMask, affine: NDArray[np.float64], place: Sequence[float]) -> bool:
    """Whether a place, RAS mm, is in a mask."""
    index = np.linalg.solve(affine, [*place, 1.0])[:3].round().astype(int)
    inside = ((index >= 0) & (index < brain.mask.shape)).all()
    return bool(inside and brain.mask[tuple(index)])

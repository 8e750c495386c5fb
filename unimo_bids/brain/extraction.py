"""Which way the brain is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from unimo_bids.brain import epi
from unimo_bids.brain.finder import UNCLEAR, BrainFinder
from unimo_bids.brain.head import above_air
from unimo_bids.brain.mask import BrainMask
from unimo_bids.words import BrainMethod, Population

NOTHING = "no brain was found"
ELSEWHERE = "it does not hold the place that was given"


def extract_brain(
    volume: NDArray[np.generic],
    affine: NDArray[np.float64],
    method: BrainMethod = "auto",
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
        If there is no brain, one that is not `usable`, with all that the other way took for one,
        and as `candidates` the places that looked most like one.

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
    seen = finder.find(volume, population, center)
    found = finder.judged(seen, volume, population, pointed=center is not None)
    if found is not None and center is not None and not _holds(found, affine, center):
        found = replace(found, doubts=(*found.doubts, ELSEWHERE))
    if found is not None and (method == "unimo" or UNCLEAR not in found.doubts):
        return found
    simple = epi.find_brain(volume, affine)
    if method == "auto" and simple.usable and (center is None or _holds(simple, affine, center)):
        return simple
    return found or replace(
        simple, doubts=(NOTHING,), usable=False, candidates=finder.candidates(seen)
    )


def _holds(brain: BrainMask, affine: NDArray[np.float64], center: Sequence[float]) -> bool:
    """Whether a mask has the voxel in it that a place ``(3,)``, RAS mm, is in."""
    index = np.linalg.solve(affine, [*center, 1.0])[:3].round().astype(int)
    # at the faces of the field of view a place may be half a voxel out
    return bool(brain.mask[tuple(index.clip(0, np.array(brain.mask.shape) - 1))])

"""One brain through a series: a mask for every frame.

In each frame the brain is outlined where the frame before has it. If that does not look like the
same brain, it is looked for everywhere. What was found elsewhere is believed if the next frame does
not show the brain where it was before: a head does not leave one behind. A frame in which both ways
fail, or find different things, is looked at once more from its other side, where the frame after it
has the brain; if that fails as well, it gets no mask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unimo_bids.brain.finder import BrainFinder
from unimo_bids.brain.mask import SURE, Outlined
from unimo_bids.brain.thresholds import VOTING


@dataclass(frozen=True)
class Followed:
    """What following a brain gave.

    Attributes
    ----------
    masks
        ``(X, Y, Z, T)``, each as `outlined`; 0 where the brain was not found.
    searched, missing
        Frames in which it was looked for everywhere, and in which it was not found.
    """

    masks: NDArray[np.uint8]
    searched: tuple[int, ...]
    missing: tuple[int, ...]

    def warnings(self) -> list[str]:
        """What to tell of it, a sentence each."""
        if not self.missing:
            return []
        listed = ", ".join(map(str, self.missing[:8])) + (", …" if len(self.missing) > 8 else "")
        many = "1 frame" if len(self.missing) == 1 else f"{len(self.missing)} frames"
        return [f"The brain was not found in {many} ({listed})."]


def follow_series(
    finder: BrainFinder,
    frame: Callable[[int], NDArray[np.generic]],
    frames: int,
    reference: int,
    brain: Outlined,
    progress: Callable[[float], None] = lambda _share: None,
) -> Followed:
    """Find the brain of one frame in all others.

    Parameters
    ----------
    finder
        For the grid of the series.
    frame
        Gives a frame ``(X, Y, Z)`` by its number.
    frames
        How many there are.
    reference
        Frame from which to go both ways; negative if the brain's volume is not a frame.
    brain
        ``(X, Y, Z)`` where it is there.
    progress
        Told the share done.
    """
    masks = np.zeros((*brain.shape, frames), dtype=np.uint8, order="F")
    searched, missing = set[int](), set[int]()
    first = max(reference, 0)
    done = 0
    for step, way in ((1, range(first, frames)), (-1, range(first - 1, -1, -1))):
        last = brain
        # the frame of a jump, and where the brain was before
        left: tuple[int, Outlined] | None = None
        for t in way:
            volume = frame(t)
            found = finder.follow(volume, last)
            if left is not None and found.any():
                jump, before = left
                behind = finder.follow(volume, before)
                if same_brain(behind, before) and not same_brain(behind, found, moved=False):
                    masks[..., jump] = 0
                    missing.add(jump)
                    found = last = behind
                left = None
            if not same_brain(found, last):
                searched.add(t)
                anywhere = finder.anywhere(volume)
                if same_brain(anywhere, last) or same_brain(anywhere, found, moved=False):
                    found = anywhere
                else:
                    missing.add(t)
                    found = np.zeros_like(brain)
                if found.any() and not same_brain(found, last, moved=False):
                    left = t, last
            if found.any():
                last = found
            masks[..., t] = found
            done += 1
            progress(done / frames)
        lost = sorted(missing & set(way), reverse=step > 0)
        missing -= _from_the_other_side(finder, frame, masks, lost, step)
    return Followed(masks, tuple(sorted(searched)), tuple(sorted(missing)))


def _from_the_other_side(
    finder: BrainFinder,
    frame: Callable[[int], NDArray[np.generic]],
    masks: NDArray[np.uint8],
    lost: Sequence[int],
    step: int,
) -> set[int]:
    """Outline the brain of lost frames where the frame after, a step on, has it; say of which."""
    recovered = set()
    for t in lost:
        if not 0 <= t + step < masks.shape[3]:
            continue
        after = masks[..., t + step]
        found = finder.follow(frame(t), after) if after.any() else after
        if same_brain(found, after):
            masks[..., t] = found
            recovered.add(t)
    return recovered


def same_brain(one: Outlined, other: Outlined, moved: bool = True) -> bool:
    """Whether two masks may be of the same brain, which may have moved between them."""
    one, other = one == SURE, other == SURE
    if not (one.any() and other.any()):
        return False
    if moved:
        there, here = (np.array(ndimage.center_of_mass(mask)) for mask in (one, other))
        other = ndimage.shift(other, there - here, order=0)
    return bool(2 * (one & other).sum() / (one.sum() + other.sum()) > VOTING.same)

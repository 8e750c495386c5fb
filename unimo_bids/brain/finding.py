"""From the networks' answers to one brain.

*Find* says where in the field of view brains may be. Every place is looked at by *segment*, in
boxes of several sizes. Where boxes agree about an outline that is clear and solid, there
is a brain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from unimo_bids.brain.mask import ball_radius, ball_volume, solidity
from unimo_bids.brain.network import FIND_MM, FIND_VOXELS, BrainNetworks, answer, segment_box
from unimo_bids.spatial.boxes import Box, covering

LEAST_ML = 8.0  # what is smaller than a brain cut by most of the field of view is nothing
# Blobs of brain that are looked for: radii in mm, response at least, how many of each size
_RADII, _RESPONSE, _BLOBS = (20.0, 28.0, 38.0, 52.0, 70.0), 0.03, 2
# A box shows a brain well that is so far off its middle, relative to its radius, or so much larger
# or smaller; else another look is taken, so often at most.
_OFF_CENTER, _OFF_SIZE, _LOOKS = 0.25, 1.2, 3
_WRONG_SIZE = 0.3  # logarithm of sizes; boxes in training were off by half of it
_CHOSEN = 3  # outlines that are looked at again
_AGREEMENT = 0.02  # what each box that agrees adds to the score
# another region of so much less score, and up to so many times smaller, is another brain
_RIVAL_SCORE, _RIVAL_SIZE = 0.05, 3.0


@dataclass(frozen=True)
class Segmented:
    """What the networks see.

    Attributes
    ----------
    probability
        ``(X, Y, Z)`` float32 that a voxel is brain, the one region that was chosen.
    rivals
        How many other regions look like brains.
    """

    probability: NDArray[np.float32]
    rivals: int


@dataclass(frozen=True)
class _Region:
    """A connected region: its centre, mm from the volume's first voxel, and volume, ml."""

    center: NDArray[np.float64]
    volume: float

    @property
    def radius(self) -> float:
        return ball_radius(self.volume)

    def distance(self, other: _Region) -> float:
        return float(np.linalg.norm(self.center - other.center))

    def like(self, other: _Region) -> bool:
        """Whether a box made for one shows the other well."""
        near = self.distance(other) < _OFF_CENTER * self.radius
        return near and 1 / _OFF_SIZE < self.radius / other.radius < _OFF_SIZE


@dataclass(frozen=True)
class _Outline:
    """A region as *segment* sees it: where it is in the probability on a box made for another."""

    region: _Region
    before: _Region
    box: Box
    probability: NDArray[np.float32]
    inside: NDArray[np.bool_]

    @cached_property
    def score(self) -> float:
        """How clear and solid it is, and how well the box was made for it, 0 to 1."""
        clear = float(self.probability[self.inside].mean())
        off = np.log(self.region.radius / self.before.radius) / _WRONG_SIZE
        return clear * solidity(self.inside, (1.0,) * 3) * float(np.exp(-0.5 * off**2))

    def written(self, shape: Sequence[int], sizes: Sequence[float]) -> NDArray[np.float32]:
        """Probability on a volume's voxels; 0 in other regions, 1 in holes."""
        elsewhere = (self.probability > 0.5) & ~self.inside
        near = ndimage.binary_dilation(self.inside, iterations=2) & ~elsewhere
        chosen = np.where(near, self.probability, 0)
        chosen[ndimage.binary_fill_holes(self.inside) & ~self.inside] = 1
        return self.box.write(torch.from_numpy(chosen), shape, sizes).numpy()


def segment_brain(
    volume: Tensor,
    sizes: Sequence[float],
    trained: BrainNetworks,
    volumes: tuple[float, float] = (LEAST_ML, np.inf),
    within: NDArray[np.float64] | None = None,
) -> Segmented:
    """Find one brain in a volume and draw its outline.

    Parameters
    ----------
    volume
        ``(X, Y, Z)`` float32, finite.
    sizes
        ``(3,)`` of its voxels, mm.
    trained
        With weights.
    volumes
        What the brain may have, ml; others are taken only if there are none of these.
    within
        ``(3,)`` of a place inside it, mm from the volume's first voxel along its axes, if known.
    """

    def fits(outline: _Outline) -> bool:
        return volumes[0] <= outline.region.volume <= volumes[1]

    if within is None:
        whole = covering(volume.shape, sizes, FIND_MM, trained.find.multiple, FIND_VOXELS)
        starts = _starts(answer(trained.find, volume, sizes, whole), whole)
    else:
        starts = [_Region(within, ball_volume(radius)) for radius in _RADII]
    seen = [_outlined(volume, sizes, trained, start, looks=1) for start in starts]
    outlines = [one for one in seen if one is not None]
    groups = _groups([one for one in outlines if fits(one)] or outlines)
    if not groups:
        return Segmented(np.zeros(tuple(volume.shape), dtype=np.float32), 0)
    again = [
        (_outlined(volume, sizes, trained, first.region, looks=_LOOKS - 1) or first, agreed)
        for first, agreed in groups[:_CHOSEN]
    ]
    scored = [(one.score + agreed, one) for one, agreed in again]
    best, brain = max(scored, key=lambda pair: (fits(pair[1]), pair[0]))
    rivals = [
        one.region
        for score, one in scored
        if score > best - _RIVAL_SCORE
        and one.region.volume > brain.region.volume / _RIVAL_SIZE
        and one.region.distance(brain.region) > one.region.radius + 0.5 * brain.region.radius
    ]
    return Segmented(brain.written(volume.shape, sizes), len(rivals))


def follow_brain(
    volume: Tensor,
    sizes: Sequence[float],
    trained: BrainNetworks,
    center: Sequence[float],
    size: float,
) -> Segmented:
    """Draw the outline of a brain that is known to be about a place.

    Parameters
    ----------
    volume, sizes, trained
        As for `segment_brain`.
    center
        ``(3,)`` mm from the volume's first voxel along its axes.
    size
        About the brain's volume, ml.
    """
    known = _Region(np.asarray(center, dtype=np.float64), size)
    found = _outlined(volume, sizes, trained, known, looks=_LOOKS)
    if found is None:
        return Segmented(np.zeros(tuple(volume.shape), np.float32), 0)
    return Segmented(found.written(volume.shape, sizes), 0)


def _starts(probability: NDArray[np.float32], box: Box) -> list[_Region]:
    """Where to look: the largest regions, and blobs of all sizes that brains have."""
    _, regions = _regions(probability, box)
    starts = list(regions.values())[:_BLOBS]
    for radius in _RADII:
        width = radius / 1.7 / box.spacing
        inner, outer = (
            ndimage.gaussian_filter(probability, factor * width, mode="constant")
            for factor in (1.0, 1.6)
        )
        blobs = inner - outer
        reach = int(2 * radius / box.spacing) | 1
        peaks = (blobs == ndimage.maximum_filter(blobs, reach)) & (blobs > _RESPONSE)
        places = sorted(np.argwhere(peaks), key=lambda place: -float(blobs[tuple(place)]))
        starts += [_Region(box.place(place), ball_volume(radius)) for place in places[:_BLOBS]]
    return starts


def _groups(outlines: Sequence[_Outline]) -> list[tuple[_Outline, float]]:
    """Outlines of the same region: the best of each, and what their number adds to its score."""
    groups: list[list[_Outline]] = []
    for outline in sorted(outlines, key=lambda one: -one.score):
        for group in groups:
            if group[0].region.like(outline.region):
                group.append(outline)
                break
        else:
            groups.append([outline])
    found = [(group[0], _AGREEMENT * (len(group) - 1)) for group in groups]
    return sorted(found, key=lambda pair: -pair[0].score - pair[1])


def _outlined(
    volume: Tensor, sizes: Sequence[float], trained: BrainNetworks, region: _Region, looks: int
) -> _Outline | None:
    """The brain that is about a region, None if there is none."""
    for _ in range(looks):
        before = region
        box = segment_box(before.center, before.radius)
        probability = answer(trained.segment, volume, sizes, box)
        pieces, regions = _regions(probability, box)
        if not regions:
            return None
        number, region = min(
            regions.items(), key=lambda one: before.distance(one[1]) / one[1].radius
        )
        if region.like(before):
            break
    return _Outline(region, before, box, probability, pieces == number)


def _regions(
    probability: NDArray[np.float32], box: Box
) -> tuple[NDArray[np.integer], dict[int, _Region]]:
    """Connected regions by their number in a map of them; the largest first."""
    pieces, _ = ndimage.label(probability > 0.5)
    found = {}
    for number, where in enumerate(ndimage.find_objects(pieces), start=1):
        voxels = np.argwhere(pieces[where] == number)
        volume = len(voxels) * box.spacing**3 / 1000
        if volume >= LEAST_ML:
            low = np.array([part.start for part in where])
            found[number] = _Region(box.place(low + voxels.mean(axis=0)), volume)
    return pieces, dict(sorted(found.items(), key=lambda one: -one[1].volume))

"""From the networks' answers to one brain.

*Find* says in overlapping windows where brains may be. Every place is looked at by *segment*, in
boxes of several sizes, but for parts of what has turned out to be a brain: a look is most of the
time. *Recognise* says of each outline whether it is a brain's. The brain is the one that is
recognised best, among like ones that whose outline is clear and solid and the same from several
boxes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from unimo_bids.brain.mask import ball_volume
from unimo_bids.brain.network import (
    FIND_MM,
    WINDOW,
    BrainNetworks,
    features,
    inference,
    normalised,
    segment_box,
)
from unimo_bids.brain.outline import Outline, Place, Region
from unimo_bids.brain.thresholds import CANDIDATES, RANKING
from unimo_bids.spatial.boxes import Box, covering

# Blobs of brain that are looked for: radii in mm, how many; and regions
_RADII, _BLOBS, _LARGEST = (20.0, 28.0, 38.0, 52.0, 70.0), 12, 3
_LOOKS = 3  # at a place, until the box fits what it shows
_CHOSEN = 4  # outlines that are looked at again


@dataclass(frozen=True)
class Segmented:
    """What the networks see.

    Attributes
    ----------
    probability
        ``(X, Y, Z)`` float32 that a voxel is brain, the one region that was chosen.
    places
        All that were looked at, the chosen one first, then by confidence.
    """

    probability: NDArray[np.float32]
    rivals: int
    places: tuple[Place, ...] = ()


def segment_brain(
    volume: Tensor,
    sizes: Sequence[float],
    trained: BrainNetworks,
    volumes: tuple[float, float] = (CANDIDATES.least_ml, np.inf),
    within: NDArray[np.float64] | None = None,
) -> Segmented:
    """Find one brain in a volume and draw its outline.

    Parameters
    ----------
    volume
        ``(X, Y, Z)`` float32, finite.
    sizes
        ``(3,)`` of its voxels, mm.
    volumes
        What the brain may have, ml; others are taken only if there are none of these.
    within
        ``(3,)`` of a place inside it, mm from the volume's first voxel along its axes, if known.
    """

    def fits(outline: Outline) -> bool:
        return volumes[0] <= outline.region.volume <= volumes[1]

    def brain_whole(outline: Outline) -> bool:
        return outline.sure and fits(outline)

    if within is None:
        outlines = all_outlines(volume, sizes, trained, brain_whole)
    else:
        # the widest first: of what that shows to be a brain, the others would show parts
        starts = [Region(within, ball_volume(radius)) for radius in reversed(_RADII)]
        seen = _all_outlined(volume, sizes, trained, starts, brain_whole)
        outlines = [one for one in seen if one.near(within)]
    groups = _groups([one for one in outlines if fits(one)] or outlines)
    ranked = []
    for first, agreed in groups[:_CHOSEN]:
        again = _outlined(volume, sizes, trained, first.region, looks=_LOOKS - 1) or first
        ranked.append((fits(again), again.worth + agreed, again))
    ranked.sort(key=lambda three: three[:2], reverse=True)
    if not ranked:
        return Segmented(np.zeros(tuple(volume.shape), dtype=np.float32), 0)
    brain, *others = _unborn_first([one for *_, one in ranked], fits)
    places = _places([brain, *others])
    if within is None and places[0].confidence < RANKING.nothing:
        return Segmented(np.zeros(tuple(volume.shape), dtype=np.float32), 0, places)
    rivals = [one for one in places[1:] if one.about_as_likely(places[0]) and one.twin(places[0])]
    return Segmented(brain.written(volume.shape, sizes), len(rivals), places)


def _unborn_first(outlines: list[Outline], fits: Callable[[Outline], bool]) -> list[Outline]:
    """The same, led by a fetal brain that is about as likely as a first one too large for a fetus.

    A mother's trunk is sometimes taken for an adult head, with the fetal one in it or beside it. In
    a head nothing else that is as small looks like a brain.
    """
    first = outlines[0]
    if first.region.volume > RANKING.largest_unborn_ml:
        for number, one in enumerate(outlines):
            small = one.region.volume <= RANKING.largest_unborn_ml
            if small and fits(one) and one.place.about_as_likely(first.place):
                return [one, *outlines[:number], *outlines[number + 1 :]]
    return outlines


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
    center
        ``(3,)`` mm from the volume's first voxel along its axes.
    size
        About the brain's volume, ml.
    """
    known = Region(np.asarray(center, dtype=np.float64), size)
    found = _outlined(volume, sizes, trained, known, looks=_LOOKS)
    if found is None:
        return Segmented(np.zeros(tuple(volume.shape), np.float32), 0)
    return Segmented(found.written(volume.shape, sizes), 0)


def all_outlines(
    volume: Tensor,
    sizes: Sequence[float],
    trained: BrainNetworks,
    whole: Callable[[Outline], bool] = lambda _outline: False,
) -> list[Outline]:
    """Every place that *find* names, as *segment* sees it; as in `segment_brain`.

    Parameters
    ----------
    whole
        Which outlines are brains: places within them, and far smaller, are not looked at.
    """
    starts = _starts(*_found_in_windows(volume, sizes, trained))
    return _all_outlined(volume, sizes, trained, starts, whole)


def _all_outlined(
    volume: Tensor,
    sizes: Sequence[float],
    trained: BrainNetworks,
    starts: Sequence[Region],
    whole: Callable[[Outline], bool],
) -> list[Outline]:
    """What one look at each region shows; see `all_outlines`."""
    seen: list[Outline] = []
    for start in starts:
        if any(one.holds(start) and whole(one) for one in seen):
            continue
        outline = _outlined(volume, sizes, trained, start, looks=1)
        if outline is not None:
            seen.append(outline)
    return seen


def _found_in_windows(
    volume: Tensor, sizes: Sequence[float], trained: BrainNetworks
) -> tuple[NDArray[np.float32], Box]:
    """Probability of brain by *find*: the most that a window says; and where it stands."""
    whole = _shown(volume, sizes)
    image = whole.read(volume, sizes)
    found = torch.zeros_like(image)
    brightest = float(image.max())
    for corner in product(*(window_starts(n) for n in whole.shape)):
        window = tuple(slice(start, start + WINDOW) for start in corner)
        if float(image[window].max()) > CANDIDATES.air * brightest:
            with inference(image.device):
                logits = trained.find(normalised(image[window])[None, None])[0, 0]
            found[window] = torch.maximum(found[window], logits.float().sigmoid())
    return found.cpu().numpy(), whole


def _shown(volume: Tensor, sizes: Sequence[float]) -> Box:
    """All of a volume; without planes of zeros around it if fewer windows then cover it."""
    low, many = [0, 0, 0], list(volume.shape)
    for axis in range(3):
        planes = volume.movedim(axis, 0).flatten(1).any(dim=1).nonzero()
        if len(planes):
            low[axis], many[axis] = int(planes[0]), int(planes[-1] - planes[0]) + 1
    boxes = [covering(shape, sizes, FIND_MM, 1, WINDOW) for shape in (volume.shape, many)]
    x, y, z = (c + n * size for c, n, size in zip(boxes[1].center, low, sizes, strict=True))
    boxes[1] = replace(boxes[1], center=(x, y, z))
    return min(boxes, key=lambda box: math.prod(len(window_starts(n)) for n in box.shape))


def window_starts(many: int) -> NDArray[np.integer]:
    """First voxels of windows that cover an axis; neighbours share half of theirs, or more."""
    count = 1 + int(np.ceil(2 * (many - WINDOW) / WINDOW))
    return np.round(np.linspace(0, many - WINDOW, count)).astype(int)


def _starts(probability: NDArray[np.float32], box: Box) -> list[Region]:
    """Where to look: the largest regions, and the strongest blobs of all sizes that brains have."""
    _, regions = _regions(probability, box)
    found = []
    for radius in _RADII:
        width = radius / 1.7 / box.spacing
        inner, outer = (
            ndimage.gaussian_filter(probability, factor * width, mode="constant")
            for factor in (1.0, 1.6)
        )
        blobs = inner - outer
        reach = int(2 * radius / box.spacing) | 1
        peaks = (blobs == ndimage.maximum_filter(blobs, reach)) & (blobs > CANDIDATES.response)
        found += [
            (float(blobs[tuple(place)]), Region(box.place(place), ball_volume(radius)))
            for place in np.argwhere(peaks)
        ]
    strongest = sorted(found, key=lambda pair: -pair[0])[:_BLOBS]
    return [*list(regions.values())[:_LARGEST], *(region for _, region in strongest)]


def _places(outlines: Sequence[Outline]) -> tuple[Place, ...]:
    """Where outlines are, each region once."""
    kept: list[Outline] = []
    for outline in outlines:
        if all(one.region.distance(outline.region) > one.region.radius / 2 for one in kept):
            kept.append(outline)
    first, *others = (one.place for one in kept)
    return (first, *sorted(others, key=lambda place: -place.confidence))


def _groups(outlines: Sequence[Outline]) -> list[tuple[Outline, float]]:
    """Outlines of the same region: the best of each, and what their number adds to its worth."""
    groups: list[list[Outline]] = []
    for outline in sorted(outlines, key=lambda one: -one.worth):
        for group in groups:
            if group[0].region.like(outline.region):
                group.append(outline)
                break
        else:
            groups.append([outline])
    found = [(group[0], RANKING.agreement * (len(group) - 1)) for group in groups]
    return sorted(found, key=lambda pair: -pair[0].worth - pair[1])


def _outlined(
    volume: Tensor, sizes: Sequence[float], trained: BrainNetworks, region: Region, looks: int
) -> Outline | None:
    """The brain that is about a region, None if there is none."""
    for _ in range(looks):
        before = region
        box = segment_box(before.center, before.radius)
        outline = _look(volume, sizes, trained, box, before)
        if outline is None:
            return None
        region = outline.region
        if region.like(before):
            break
    return outline


def _look(
    volume: Tensor, sizes: Sequence[float], trained: BrainNetworks, box: Box, before: Region
) -> Outline | None:
    """The region in a box that is nearest to what it was made for."""
    answer, layers = segmented(volume, sizes, trained, box)
    probability = answer.cpu().numpy()
    pieces, regions = _regions(probability, box)
    if not regions:
        return None
    number, region = min(regions.items(), key=lambda one: before.distance(one[1]) / one[1].radius)
    inside = pieces == number
    with torch.inference_mode():
        found = features(answer, layers, torch.from_numpy(inside).to(answer.device))
        odds = float(trained.recognise(found[None]))
    return Outline(region, before, box, probability, inside, found.cpu(), odds)


def segmented(
    volume: Tensor, sizes: Sequence[float], trained: BrainNetworks, box: Box
) -> tuple[Tensor, list[Tensor]]:
    """Probability of brain ``(X, Y, Z)`` on a box, by *segment*, and what its layers hold."""
    image = normalised(box.read(volume, sizes))[None, None]
    with inference(volume.device):
        logits, layers = trained.segment.layers(image)
    return logits[0, 0].float().sigmoid(), layers


def _regions(
    probability: NDArray[np.float32], box: Box
) -> tuple[NDArray[np.integer], dict[int, Region]]:
    """Connected regions by their number in a map of them; the largest first."""
    pieces, _ = ndimage.label(probability > 0.5)
    found = {}
    for number, where in enumerate(ndimage.find_objects(pieces), start=1):
        voxels = np.argwhere(pieces[where] == number)
        volume = len(voxels) * box.spacing**3 / 1000
        if volume >= CANDIDATES.least_ml:
            low = np.array([part.start for part in where])
            found[number] = Region(box.place(low + voxels.mean(axis=0)), volume)
    return pieces, dict(sorted(found.items(), key=lambda one: -one[1].volume))

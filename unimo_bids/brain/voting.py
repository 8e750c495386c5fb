"""Where the brain is by several frames of a series, if one does not tell.

What one frame takes for the brain may be a trunk, or noise. The brain is there in every frame, at
about the same place and of the same size. Candidates of several frames that agree make a place; it
is worth the mean over all frames looked at of the log-odds of their confidence, little where a
frame has none there. Places of about the same worth are told apart by motion: a head moves in
surroundings that do not, so its edge changes from frame to frame more than what is around it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from unimo_bids.brain.finder import CUT, METHOD, UNCLEAR, UNSURE
from unimo_bids.brain.mask import BrainMask, Candidate, ball_radius
from unimo_bids.brain.thresholds import RANKING, VOTING
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.region import centroid

Float64 = NDArray[np.float64]
# Finds the brain in a frame: anywhere, or about a place (3,), RAS mm
Look = Callable[[int, Sequence[float] | None], BrainMask]

# Of change at the edge of a place: what is its edge and what is around it, radii; smoothing, mm;
# relative to the median there, what is dark and what is rounding
_EDGE, _SURROUNDINGS = (0.75, 1.25), (1.5, 2.2)
_SMOOTH_MM, _DARK, _NOISE = 3.0, 0.1, 1e-4


@dataclass(frozen=True)
class Place:
    """Where candidates of several frames agree.

    Attributes
    ----------
    candidates
        The one of each frame that has one there.
    worth
        Mean log-odds over all frames looked at that this is a brain.
    """

    candidates: Mapping[int, Candidate]
    worth: float

    @property
    def best(self) -> Candidate:
        """The candidate that is most likely a brain."""
        return max(self.candidates.values(), key=lambda one: one.confidence)

    @property
    def unborn(self) -> bool:
        """Whether it is not too large for the brain of a fetus."""
        return self.best.volume <= RANKING.largest_unborn_ml

    def holds(self, other: Candidate) -> bool:
        """Whether a candidate is at this place."""
        return any(_agree(one, other) for one in self.candidates.values())


@dataclass(frozen=True)
class Vote:
    """The brain in the reference, by several frames.

    Attributes
    ----------
    brain
        In `frame`.
    frame
        The reference, if anything can be outlined there; else the nearest in which it can.
    warnings
        A sentence each.
    """

    brain: BrainMask
    frame: int
    warnings: list[str] = field(default_factory=list)


def vote(
    look: Look,
    volume: Callable[[int], NDArray[np.generic]],
    affine: Float64,
    reference: int,
    others: Sequence[int],
) -> Vote:
    """Find the brain in the reference; look at other frames if, and until, it is clear.

    Parameters
    ----------
    look
        Finds the brain in a frame.
    volume
        Gives a frame ``(X, Y, Z)``.
    affine
        ``(4, 4)`` indices → RAS mm.
    reference
        The frame to begin with.
    others
        Frames that may be looked at, in this order.
    """
    brain = look(reference, None)
    seen = {reference: candidates(brain, affine)}
    places = agreed(seen)
    if not others or (not brain.doubts and _clear(places)):
        return Vote(brain, reference)
    if brain.doubts == (CUT,) and _clear(places):
        # the view cuts it in every frame: one that shows it there as well is enough
        there = next(iter(places[0].candidates.values())).center
        again = candidates(look(others[0], there), affine)
        confirmed = agreed(seen | {others[0]: again})
        if _clear(confirmed) and _shown(brain, confirmed[0], affine):
            return Vote(brain, reference)
    brains = {reference: brain}
    for frame in others:
        brains[frame] = look(frame, None)
        seen[frame] = candidates(brains[frame], affine)
        places = agreed(seen)
        if _clear(places):
            break
    best = _most_moving(places, {t: volume(t) for t in seen}, affine) if places else None
    if best is None or best.worth < 0:
        if brain.usable:
            brain = replace(brain, doubts=_with_doubt(brain, places, list(brains)[1:], affine))
        return Vote(brain, reference)
    if _shown(brain, best, affine):
        if best.worth > VOTING.clear:
            brain = replace(brain, doubts=tuple(one for one in brain.doubts if one != UNSURE))
        return Vote(brain, reference)
    return _elsewhere(look, affine, reference, best, brains)


def _with_doubt(
    brain: BrainMask, places: Sequence[Place], others: Sequence[int], affine: Float64
) -> tuple[str, ...]:
    """Doubts of a brain that other frames do not confirm: they show nothing there, or as little."""
    there = next((set(one.candidates) for one in places if _shown(brain, one, affine)), set())
    gone = [frame for frame in others if frame not in there]
    doubt = f"{_showing(gone)} no brain there" if gone else UNSURE
    return tuple(dict.fromkeys((*brain.doubts, doubt)))


def _elsewhere(
    look: Look, affine: Float64, reference: int, best: Place, brains: Mapping[int, BrainMask]
) -> Vote:
    """The brain at a place that is not where the reference alone has it."""
    near = sorted(best.candidates, key=lambda t: abs(t - reference))
    outlined = look(reference, best.candidates[near[0]].center)
    others = _showing(sorted(set(near) - {reference}))
    if _shown(outlined, best, affine) and UNCLEAR not in outlined.doubts:
        warning = f"The brain is where {others} it, not where the reference alone does."
        return Vote(outlined, reference, [warning])
    for frame in near:
        if frame == reference:
            continue
        outlined = brains[frame]
        if not _shown(outlined, best, affine):
            outlined = look(frame, best.candidates[frame].center)
        if _shown(outlined, best, affine):
            warning = (
                f"The brain cannot be outlined in the reference frame, {reference}: its mask is "
                f"that of frame {frame}. Choose another reference if you can."
            )
            return Vote(outlined, frame, [warning])
    return Vote(brains[reference], reference)


def candidates(brain: BrainMask, affine: Float64) -> tuple[Candidate, ...]:
    """Say where a brain may be by one look; of a mask alone, where it is."""
    if brain.candidates:
        return brain.candidates
    if not brain.usable or not brain.mask.any():
        return ()
    believed = brain.method == METHOD and not brain.doubts
    grid = Grid.of(brain.mask.shape, affine)
    x, y, z = centroid(torch.from_numpy(brain.mask), grid).tolist()
    volume = float(brain.mask.sum()) * grid.voxel_ml
    return (Candidate((x, y, z), volume, VOTING.believed if believed else VOTING.doubted),)


def agreed(seen: Mapping[int, Sequence[Candidate]]) -> list[Place]:
    """Places on which the candidates of frames agree, the most likely first.

    Examples
    --------
    >>> here, there = Candidate((0, 0, 0), 200, 0.9), Candidate((99, 0, 0), 200, 0.95)
    >>> places = agreed({0: [there, here], 1: [here], 2: [here]})
    >>> [(sorted(place.candidates), round(place.worth, 1)) for place in places]
    [([0, 1, 2], 2.2), ([0], 0.1)]
    """
    groups: list[dict[int, Candidate]] = []
    every = [(frame, one) for frame, those in seen.items() for one in those]
    for frame, one in sorted(every, key=lambda pair: -pair[1].confidence):
        for group in groups:
            if any(_agree(one, other) for other in group.values()):
                group.setdefault(frame, one)
                break
        else:
            groups.append({frame: one})
    places = [
        Place(group, float(np.mean([_log_odds(group.get(frame)) for frame in seen])))
        for group in groups
    ]
    return sorted(places, key=lambda place: -place.worth)


def edge_variance(
    volumes: Sequence[NDArray[np.generic]], affine: Float64, place: Candidate
) -> float:
    """How much more the edge of a place changes from frame to frame than what is around it.

    The logarithm of the ratio of variances, each relative to intensity and robust: one bad frame
    among four counts for little.

    Parameters
    ----------
    volumes
        ``(X, Y, Z)`` each.
    affine
        ``(4, 4)`` indices → RAS mm.
    place
        Where.
    """
    grid = Grid.of(volumes[0].shape, affine)
    center = torch.tensor(place.center, dtype=torch.float64)
    far = (grid.points() - center).norm(dim=-1).reshape(grid.shape).numpy()
    far /= ball_radius(place.volume)
    near = far < _SURROUNDINGS[1]
    edge = (far[near] > _EDGE[0]) & (far[near] < _EDGE[1])
    around = far[near] > _SURROUNDINGS[0]
    if not (edge.any() and around.any()):
        return 0.0
    widths = _SMOOTH_MM / grid.sizes.numpy()
    smooth = np.stack(
        [ndimage.gaussian_filter(np.asarray(v, dtype=np.float32), widths)[near] for v in volumes]
    )
    smooth -= np.minimum(smooth.min(axis=1, keepdims=True), 0)  # some are stored with an offset
    smooth /= np.maximum(np.median(smooth, axis=1, keepdims=True), 1e-9)  # frames differ in gain
    usual = np.median(smooth, axis=0)
    change = np.median(np.abs(smooth - usual), axis=0) / (usual + _DARK)
    return 2 * math.log((change[edge].mean() + _NOISE) / (change[around].mean() + _NOISE))


def _most_moving(
    places: Sequence[Place], volumes: Mapping[int, NDArray[np.generic]], affine: Float64
) -> Place:
    """Of places of about the same worth the one whose edge moves most; fetal ones before trunks."""
    close = [place for place in places if place.worth > places[0].worth - VOTING.lead]
    if places[0].best.volume > RANKING.largest_unborn_ml:  # as in one frame (`segmentation`)
        least = max(0.0, places[0].worth - math.log(RANKING.rival_odds))
        close = [place for place in close if place.unborn and place.worth > least] or close
    if len(close) == 1 or len(volumes) == 1:
        return close[0]

    def worth(place: Place) -> float:
        return place.worth + edge_variance(list(volumes.values()), affine, place.best)

    return max(close, key=worth)


def _clear(places: Sequence[Place]) -> bool:
    if not places or places[0].worth < VOTING.clear:
        return False
    return len(places) == 1 or places[1].worth < places[0].worth - VOTING.lead


def _shown(brain: BrainMask, place: Place, affine: Float64) -> bool:
    """Whether a mask is the brain at a place."""
    return brain.usable and any(place.holds(one) for one in candidates(brain, affine)[:1])


def _agree(one: Candidate, other: Candidate) -> bool:
    """Whether two candidates may be the same brain in two frames."""
    apart = math.dist(one.center, other.center)
    smaller, larger = sorted((one.volume, other.volume))
    return apart < VOTING.near * ball_radius(larger) and larger < VOTING.sizes * smaller


def _log_odds(candidate: Candidate | None) -> float:
    confidence = VOTING.absent if candidate is None else candidate.confidence
    clipped = min(max(confidence, VOTING.absent), VOTING.most)
    return math.log(clipped / (1 - clipped))


def _showing(frames: Sequence[int]) -> str:
    if len(frames) == 1:
        return f"frame {frames[0]} shows"
    return f"frames {', '.join(map(str, frames))} show"

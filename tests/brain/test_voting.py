"""Which place several frames agree on, by finders that say what they are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from unimo_bids.brain.extraction import NOTHING
from unimo_bids.brain.finder import CUT, METHOD, UNSURE
from unimo_bids.brain.mask import BrainMask, Candidate, ball_radius, ball_volume
from unimo_bids.brain.voting import Vote, agreed, candidates, edge_variance, vote

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
SHAPE = (40, 40, 30)
GRID = 4.0 * np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), axis=-1)
HEAD, TRUNK = (45.0, 60.0, 60.0), (115.0, 100.0, 60.0)
RADIUS = 24.0
OTHERS = (1, 2, 3, 4)


def _at(place: tuple[float, float, float], confidence: float, radius: float = RADIUS) -> Candidate:
    return Candidate(place, ball_volume(radius), confidence)


def _ball(center: Sequence[float], radius: float = RADIUS) -> np.ndarray:
    return np.linalg.norm(GRID - center, axis=-1) < radius


def _brain(those: Sequence[Candidate], doubts: tuple[str, ...] = ()) -> BrainMask:
    if not those:
        return BrainMask(_ball((0, 0, 0)), np.float32(0), 1.0, METHOD, (NOTHING,), usable=False)
    mask = _ball(those[0].center, ball_radius(those[0].volume))
    return BrainMask(mask, mask.astype(np.float32), RADIUS, METHOD, doubts, True, tuple(those))


class _Finder:
    """Tells candidates frame by frame, and what it was asked."""

    def __init__(self, told: Mapping[int, Sequence[Candidate]], blind: Sequence[int] = ()) -> None:
        self.told, self.blind = told, blind
        self.asked: list[tuple[int, Sequence[float] | None]] = []

    def __call__(self, frame: int, center: Sequence[float] | None) -> BrainMask:
        self.asked.append((frame, center))
        if center is None:
            return _brain(self.told[frame])
        x, y, z = center
        radii = [ball_radius(one.volume) for one in self.told[frame] if one.center == (x, y, z)]
        seen = [_at((x, y, z), 0.9, *radii[:1])]
        return _brain([] if frame in self.blind else seen)

    def voted(self, volumes: Sequence[np.ndarray] = ()) -> Vote:
        flat = np.zeros(SHAPE, dtype=np.float32)
        return vote(self, lambda t: volumes[t] if volumes else flat, AFFINE, 0, OTHERS)


def _is_at(brain: BrainMask, place: tuple[float, float, float]) -> bool:
    return bool((brain.mask == _ball(place)).all())


def test_a_clear_reference_is_enough():
    finder = _Finder({0: [_at(HEAD, 0.95), _at(TRUNK, 0.3)]})
    voted = finder.voted()
    assert finder.asked == [(0, None)]
    assert _is_at(voted.brain, HEAD) and voted.frame == 0 and voted.warnings == []


def test_a_decoy_of_the_reference_alone_is_not_the_brain():
    others = {t: [_at(HEAD, 0.85), _at(TRUNK, 0.2)] for t in OTHERS}
    finder = _Finder({0: [_at(TRUNK, 0.95), _at(HEAD, 0.8)], **others})
    voted = finder.voted()
    assert _is_at(voted.brain, HEAD) and voted.frame == 0
    assert finder.asked[-1] == (0, HEAD)  # outlined there once it is known
    assert voted.warnings[0].startswith("The brain is where frames 1, 2")


def test_a_reference_that_shows_nothing_takes_the_place_of_the_others():
    finder = _Finder({0: [], **{t: [_at(HEAD, 0.9)] for t in OTHERS}})
    voted = finder.voted()
    assert _is_at(voted.brain, HEAD) and voted.frame == 0 and voted.brain.usable


def test_no_brain_anywhere_stays_no_brain():
    finder = _Finder({t: [] for t in (0, *OTHERS)})
    voted = finder.voted()
    assert len(finder.asked) == 5
    assert not voted.brain.usable and voted.brain.doubts == (NOTHING,)


def test_nor_is_what_one_frame_shows_a_brain():
    voted = _Finder({0: [], 1: [_at(TRUNK, 0.9)], 2: [], 3: [], 4: []}).voted()
    assert not voted.brain.usable
    doubted = _Finder({0: [_at(TRUNK, 0.7)], **{t: [] for t in OTHERS}}).voted().brain
    assert doubted.usable and doubted.doubts == ("frames 1, 2, 3, 4 show no brain there",)


def test_frames_that_show_it_as_little_are_not_said_to_show_nothing():
    def look(frame: int, _center: Sequence[float] | None) -> BrainMask:
        return _brain([_at(HEAD, 0.1)] if frame != 2 else [], (UNSURE,) if frame == 0 else ())

    brain = vote(look, lambda _t: np.zeros(SHAPE), AFFINE, 0, (1, 3, 4)).brain
    assert _is_at(brain, HEAD) and brain.doubts == (UNSURE,)
    brain = vote(look, lambda _t: np.zeros(SHAPE), AFFINE, 0, (1, 2, 3)).brain
    assert brain.doubts == (UNSURE, "frame 2 shows no brain there")


def test_other_frames_settle_whether_it_is_a_brain():
    def look(frame: int, _center: Sequence[float] | None) -> BrainMask:
        return _brain([_at(HEAD, 0.45 if frame == 0 else 0.95)], (UNSURE,) if frame == 0 else ())

    brain = vote(look, lambda _t: np.zeros(SHAPE), AFFINE, 0, OTHERS).brain
    assert _is_at(brain, HEAD) and brain.doubts == ()


@pytest.mark.parametrize("blind", [False, True])
def test_a_clear_brain_that_the_view_cuts_is_looked_for_there_alone(blind):
    """Unless another frame does not show it there: then all are asked."""
    finder = _Finder({t: [_at(HEAD, 0.95)] for t in (0, *OTHERS)}, blind=OTHERS if blind else ())
    asked: list[tuple[int, Sequence[float] | None]] = []

    def look(frame: int, center: Sequence[float] | None) -> BrainMask:
        asked.append((frame, center))
        brain = finder(frame, center)
        return replace(brain, doubts=(CUT,)) if frame == 0 else brain

    voted = vote(look, lambda _t: np.zeros(SHAPE), AFFINE, 0, OTHERS)
    assert _is_at(voted.brain, HEAD) and voted.brain.doubts == (CUT,)
    assert asked == [(0, None), (1, HEAD), *([(1, None)] if blind else [])]


def test_a_head_that_wanders_is_at_one_place():
    way = {t: [_at((45.0 + 15 * t, 60, 60), 0.9)] for t in range(4)}  # 45 mm, two radii in all
    assert [len(place.candidates) for place in agreed(way)] == [4]


def test_another_size_is_another_place():
    assert len(agreed({0: [_at(HEAD, 0.9)], 1: [_at(HEAD, 0.9, radius=1.4 * RADIUS)]})) == 2


def test_a_mask_alone_says_where_it_is():
    mask = _ball(HEAD)
    brain = BrainMask(mask, mask.astype(np.float32), RADIUS, METHOD)
    (one,) = candidates(brain, AFFINE)
    assert one.center == pytest.approx(HEAD, abs=1)  # a quarter of a voxel
    assert one.volume == pytest.approx(ball_volume(RADIUS), rel=0.05)  # voxels at its surface


def _scene(turn: float, seed: int = 3) -> np.ndarray:
    """Structure everywhere; that of the head turned about its centre."""
    c, s = np.cos(turn), np.sin(turn)
    there = (GRID - HEAD) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])

    def waves(points: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(seed)
        every = [np.sin(points @ rng.normal(0, 0.12, 3) + rng.uniform(0, 6)) for _ in range(8)]
        return np.asarray(sum(every))

    shown = np.where(_ball(HEAD, 1.1 * RADIUS), waves(there), waves(GRID))
    return (100 + 10 * shown).astype(np.float32)


def test_the_edge_of_a_head_changes_more_than_still_surroundings():
    volumes = [_scene(turn) for turn in (0.0, 0.4, -0.35, 0.5)]
    # measured: 1.2 to 6 for heads in real surroundings, 0.9 at most for other places there
    assert edge_variance(volumes, AFFINE, _at(HEAD, 0.5)) > 1.2
    assert abs(edge_variance(volumes, AFFINE, _at(TRUNK, 0.5))) < 0.9
    noise = np.random.default_rng(0).normal(0, 50, SHAPE).astype(np.float32)
    assert edge_variance([*volumes, noise], AFFINE, _at(HEAD, 0.5)) > 1.2
    below = [volume - 130 for volume in volumes]  # as files with an offset have it
    assert edge_variance(below, AFFINE, _at(HEAD, 0.5)) > 1.2
    assert abs(edge_variance(below, AFFINE, _at(TRUNK, 0.5))) < 0.9


def test_of_places_alike_the_one_that_moves_is_the_brain():
    both = {t: [_at(TRUNK, 0.7), _at(HEAD, 0.65)] for t in (0, *OTHERS)}
    volumes = [_scene(turn) for turn in (0.0, 0.4, -0.35, 0.5, 0.3)]
    assert _is_at(_Finder(both).voted(volumes).brain, HEAD)
    assert _is_at(_Finder(both).voted([volumes[0]] * 5).brain, TRUNK)


def test_a_trunk_as_large_as_an_adult_head_is_not_the_brain_where_frames_show_a_fetal_one():
    large = ball_radius(900.0)
    told = {t: [_at(HEAD, 0.8), _at(TRUNK, 0.85, large)] for t in (0, *OTHERS)}
    assert _is_at(_Finder(told).voted().brain, HEAD)
    # a small place that is far less likely is a part of an adult, or nothing
    unlikely = {t: [_at(TRUNK, 0.84, large), _at(HEAD, 0.52)] for t in (0, *OTHERS)}
    assert not _is_at(_Finder(unlikely).voted().brain, HEAD)

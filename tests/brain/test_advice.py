"""What to do about a mask in doubt."""

from __future__ import annotations

import numpy as np
import pytest

from unimo_bids.brain import epi
from unimo_bids.brain.advice import advised, runners_up
from unimo_bids.brain.extraction import NOTHING
from unimo_bids.brain.finder import IN_BODY, METHOD, UNCLEAR
from unimo_bids.brain.mask import BrainMask, Candidate

ONE = Candidate((1, 2, 3), 245, 0.9)
TWIN = Candidate((12.4, -30, 44), 131, 0.35)
THIRD = Candidate((-31, 12, 80), 60, 0.25)
POOR = Candidate((70, 80, 90), 20, 0.1)
TWINS = "another region looks like a brain as well (twins?)"
CUT = "the field of view cuts it"


def brain(*doubts: str, candidates: tuple[Candidate, ...] = (), method: str = METHOD) -> BrainMask:
    nothing = np.zeros((2, 2, 2), np.float32)
    return BrainMask(nothing > 0, nothing, 40.0, method, doubts, candidates=candidates)


def test_one_place_is_told_once():
    """A ball of 245 ml has a radius of 39 mm, one of 131 ml of 32 mm."""
    within = Candidate((1, 2, 41), 30, 0.8)
    beside = Candidate((12.4, -30, 75), 20, 0.3)
    clear = Candidate((12.4, -30, 77), 20, 0.2)
    found = runners_up((ONE, within, beside, clear, TWIN), True)
    assert found == [TWIN, clear]


@pytest.mark.parametrize(
    ("doubt", "candidates", "told"),
    [
        (TWINS, (ONE, TWIN), "choose one with --brain-center=12,-30,44"),
        (CUT, (ONE,), "go on if the outline follows what is in view, else draw a mask"),
        (IN_BODY, (ONE,), "say so if it is that of a fetus (--population fetal), else draw a mask"),
        (UNCLEAR, (ONE, TWIN), "give --brain-center=12,-30,44 if the brain is there, draw a mask"),
    ],
)
def test_every_doubt_has_its_step(doubt, candidates, told):
    (said,) = advised(brain(doubt, candidates=candidates))
    assert said.startswith(f"{doubt}: {told}")


def test_without_a_brain_the_best_places_are_told():
    there = brain(NOTHING, candidates=(POOR, TWIN), method=epi.METHOD)
    assert advised(there) == [
        f"{NOTHING}: try --brain-center=12,-30,44 or --brain-center=70,80,90, or draw a mask"
    ]
    none = brain(NOTHING, method=epi.METHOD)
    assert advised(none) == [f"{NOTHING}: point at it with --brain-center=X,Y,Z, or draw a mask"]


def test_who_has_pointed_is_not_asked_to_point():
    for doubt in (NOTHING, UNCLEAR, TWINS):
        (told,) = advised(brain(doubt, candidates=(ONE, TWIN)), pointed=True)
        assert "--brain-center" not in told and "draw a mask" in told

"""In which orders slices may have been acquired."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from unimo_bids.motion.slices import order
from unimo_bids.motion.slices.order import better_order, usual_orders
from unimo_bids.motion.slices.trajectory import SliceTimes


def acquired(offsets: np.ndarray) -> str:
    """The slices in the order of their times; those of one time together."""
    groups = [np.flatnonzero(offsets == time) for time in np.unique(offsets)]
    return " ".join("".join(map(str, group)) for group in groups)


def test_usual_orders_but_the_told_one():
    told = np.array([0.0, 1.0, 0.25, 1.25, 0.5])  # 0 2 4 1 3
    assert {words: acquired(offsets) for words, offsets in usual_orders(told)} == {
        "one after the other, up": "0 1 2 3 4",
        "one after the other, down": "4 3 2 1 0",
        "even ones first, down": "4 2 0 3 1",
        "odd ones first, up": "1 3 0 2 4",
        "odd ones first, down": "3 1 4 2 0",
    }
    of_six = {words: acquired(one) for words, one in usual_orders(np.arange(6.0))}
    assert of_six["odd ones first, down"] == "5 3 1 4 2 0"
    assert len(of_six) == 5


def test_slices_acquired_at_once_stay_so():
    told = np.tile([0.0, 1.0, 0.5, 1.5], 2)
    found = {words: acquired(offsets) for words, offsets in usual_orders(told)}
    assert found["one after the other, down"] == "37 26 15 04"
    assert list(usual_orders(np.array([0.0, 0.0, 1.0, 1.0, 1.0]))) == []  # groups of two and three


@pytest.mark.parametrize(
    ("told", "down", "frames", "found"),
    [
        (0.0, -10.0, 8, "one after the other, down"),
        (0.0, -10.0, 7, ""),  # too few to agree
        (-20.0, -10.0, 8, ""),  # the told order is better still
        (40.0, 20.0, 8, ""),  # neither is better than one pose a frame
        (0.0, -0.5, 8, ""),  # frames do not agree
    ],
)
def test_another_order_is_clearly_better_than_the_told_one_and_than_one_pose(
    monkeypatch, told, down, frames, found
):
    spread = np.linspace(-1, 1, frames)

    def costs(_problem, _one_pose, _poses, times):
        first = times.offsets[0]
        return {0.0: told, 5.0: down}.get(first, 50.0) + spread * (1 + first)

    monkeypatch.setattr(order, "_costs", costs)
    problem = SimpleNamespace(times=SliceTimes(2, np.arange(6.0), 6.0), good=np.ones(frames, bool))
    assert better_order(cast(Any, problem), cast(Any, None), cast(Any, None)) == found

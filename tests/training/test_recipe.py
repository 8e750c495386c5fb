"""What is trained on."""

from __future__ import annotations

from tests.training.conftest import ball
from unimo_bids.training.recipe import _first


def test_few_of_each_kind_and_all_that_is_held_back() -> None:
    objects = [ball("adult", 60, held_back=n == 1) for n in range(4)] + [ball("fetal", 40)]
    kept = _first(objects, 2)
    assert [id(thing) for thing in kept] == [id(objects[n]) for n in (0, 1, 2, 4)]
    assert _first(objects, None) == objects

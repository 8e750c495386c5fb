"""What is doubted about a mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.brain.bright import volume_of
from unimo_bids.brain.finder import IN_BODY, METHOD, BrainFinder
from unimo_bids.words import Population


def _doubts(finder: BrainFinder, volume: torch.Tensor, population: Population | None) -> str:
    judged = finder.judged(finder.find(volume.numpy()), volume.numpy(), population)
    assert judged is not None and judged.usable and judged.method == METHOD
    return "; ".join(judged.doubts)


@pytest.mark.parametrize(
    ("radius", "population", "doubt"),
    [
        (40, "adult", r"268 ml, is not that of an adult brain (750 to 2300 ml)"),
        (40, "infant", ""),
        (60, "fetal", r"is not that of a fetal brain"),
        (60, None, ""),
        (14, None, r"is not that of any brain"),
    ],
)
def test_size_depends_on_who_is_scanned(finder, radius, population, doubt):
    told = _doubts(finder, volume_of(((150, 120, 88), radius)), population)
    assert doubt.rsplit("ml, ", maxsplit=1)[-1] in told if doubt else not told


def test_half_a_brain_is_told(finder):
    assert _doubts(finder, volume_of(((150, 120, 0), 50)), None) == "the field of view cuts it"


@pytest.mark.parametrize(
    ("radius", "population", "told"),
    [(40, "infant", True), (40, "fetal", False), (40, None, False), (55, None, True)],
)
def test_what_lies_in_a_body_is_of_a_fetus(finder, radius, population, told):
    """Only a fetus' brain is in one; in air it is anybody's. Skull and scalp are no body."""
    center = (150, 120, 90)
    volume = volume_of((center, radius)).numpy()
    found = finder.find(volume)
    for reach, doubted in ((0, False), (15, False), (60, told)):
        around = 0.4 * volume_of((center, radius + reach), structure=0).numpy()
        for zero in (0.0, 500.0):  # scans may be stored with an offset
            judged = finder.judged(found, np.maximum(volume, around) + zero, population)
            assert judged is not None
            assert (IN_BODY in judged.doubts) is doubted


def test_a_shape_that_no_brain_has_is_told(finder):
    chain = volume_of(
        *(((x, y, 90), 14) for x, y in ((100, 100), (120, 100), (140, 100), (140, 120)))
    )
    assert "its shape is not that of a brain" in _doubts(finder, chain, None)


def test_a_bottle_is_told(finder):
    bottle = volume_of(((150, 120, 90), 40), structure=0.0)
    shaded = bottle * torch.linspace(0.9, 1.1, bottle.shape[0])[:, None, None]
    for volume in (bottle, shaded + 20 * torch.randn(bottle.shape)):
        assert "a phantom?" in _doubts(finder, volume, "fetal")


def test_a_dark_part_is_told(finder):
    volume = volume_of(((150, 120, 90), 40))
    found = finder.find(volume.numpy())
    volume[:, :, :15] *= 0.1
    judged = finder.judged(found, volume.numpy(), "fetal")
    assert judged is not None
    assert judged.doubts == ("part of it is dark (face, neck, or lost signal)",)


def test_nothing_is_nothing(finder):
    broken = np.full((100, 90, 40), np.nan)
    assert finder.judged(finder.find(broken), broken, None) is None

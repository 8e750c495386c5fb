"""What is doubted about a mask."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.orientations import apply_orientation, axcodes2ornt, ornt_transform

from tests.brain.bright import AFFINE, Bright, volume_of
from unimo_bids.brain.finder import IN_BODY, METHOD, BrainFinder
from unimo_bids.brain.mask import outlined
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


@pytest.mark.parametrize("axes", ["RAS", "LPI", "PSR", "AIL"])
@pytest.mark.parametrize("center", [None, (150.0, 120.0, 60.0)])
def test_a_head_is_the_same_however_its_voxels_are_stored(bright, axes, center):
    """Networks know sides: these take for a brain what is bright, but for its right rim."""

    class Sided(Bright):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return super().forward(image) - 20 * (image.roll(8, dims=-3) < 0.1) * (image > 0.5)

    bright.add_module("find", Sided())
    bright.add_module("segment", Sided())
    upright = nib.Nifti1Image(volume_of(((150, 120, 60), 40)).numpy(), AFFINE)
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes))
    stored = upright.as_reoriented(turn)
    expected = BrainFinder(AFFINE).find(upright.get_fdata(dtype=np.float32), None, center)
    finder = BrainFinder(stored.affine)
    volume = stored.get_fdata(dtype=np.float32)
    found = finder.find(volume, None, center)
    assert 0.2 < (expected.probability > 0.5).sum() / (upright.get_fdata() > 500).sum() < 0.95
    np.testing.assert_array_equal(found.probability, apply_orientation(expected.probability, turn))
    ours, theirs = (finder.candidates(found), BrainFinder(AFFINE).candidates(expected))
    assert ours[0].center == pytest.approx(theirs[0].center)
    followed = finder.follow(volume, outlined(found.probability, stored.affine))
    upon = BrainFinder(AFFINE).follow(
        upright.get_fdata(dtype=np.float32), outlined(expected.probability, AFFINE)
    )
    assert (followed != apply_orientation(upon, turn)).sum() <= 2  # voxels at a level, rounded


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

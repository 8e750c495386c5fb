from __future__ import annotations

from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from tests import heads
from unimo_bids.brain.epi import find_brain
from unimo_bids.brain.mask import brain_radius, population_of_size
from unimo_bids.simulation import (
    artefacts,
    centered_affine,
    fetal_head,
    fetal_surroundings,
    simulate,
)

REAL = Path(__file__).parents[3] / "shared" / "data"
GRID = ((64, 64, 36), (3.4, 3.4, 3.8))
# names of the parts: what goes wrong in each
NOISE = (artefacts.RicianNoise(80),)
BIAS = (artefacts.ReceiveBias(0.6), artefacts.RicianNoise(30))


@cache
def adult(shape=GRID[0], sizes=GRID[1], wrong=(), skull=True):
    return scanned(heads.adult(skull), shape, sizes, wrong)


def scanned(head, shape, sizes, wrong=(), **around):
    """A volume, its affine and the true brain."""
    torch.set_num_threads(1)
    still = np.eye(4)[None]
    one = simulate(head, still, shape=shape, voxel_sizes=sizes, artefacts=wrong, seed=1, **around)
    return one.data[..., 0], one.affine, one.brain > 0.5


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def ball(shape=(40, 36, 30), sizes=(2.0, 2.5, 3.0), radius=28.0):
    """A bright ball in faint air and its mask."""
    affine = centered_affine(shape, sizes)
    axes = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    inside = sum((a * s) ** 2 for a, s in zip(axes, sizes, strict=True)) < radius**2
    noise = np.random.default_rng(0).normal(20, 3, shape)
    return np.where(inside, 1000, noise).astype(np.float32), affine, inside


@pytest.mark.parametrize(
    ("wrong", "skull", "least"),
    # the rest is the fluid about the brain, as bright as it, and half a voxel of rim
    [
        pytest.param((), True, 0.93, marks=pytest.mark.slow),
        (NOISE, True, 0.93),
        (BIAS, True, 0.93),
        (NOISE, False, 0.985),
    ],
)
def test_an_adult_head(wrong, skull, least):
    image, affine, truth = adult(wrong=wrong, skull=skull)
    found = find_brain(image, affine)
    assert dice(found.mask, truth) > least
    assert found.usable and population_of_size(found.radius_mm) == "adult"


@pytest.mark.parametrize(("slices", "thickness"), [(10, 4.0), (1, 4.0), (24, 6.0)])
def test_partial_coverage_and_thick_slices(slices, thickness):
    image, affine, truth = adult((72, 72, slices), (3.0, 3.0, thickness), BIAS)
    found = find_brain(image, affine)
    assert dice(found.mask, truth) > 0.93
    # the size is that of the whole brain (80 mm with its fluid), not of the slab
    assert found.usable and found.radius_mm == pytest.approx(78, abs=4)


@cache
def isolated_fetus():
    return scanned(fetal_head(30, seed=30), (56, 56, 36), (3.0, 3.0, 4.0), BIAS)


def test_a_fetal_head_in_air():
    image, affine, truth = isolated_fetus()
    found = find_brain(image, affine)
    # thin skull and scalp cannot be told from the brain at 3 mm: all of it is there, and a rim
    assert dice(found.mask, truth) > 0.7 and (found.mask & truth).sum() > 0.99 * truth.sum()
    assert found.usable and population_of_size(found.radius_mm) == "fetal"


def test_in_utero_it_says_that_it_does_not_know():
    image, affine, _ = scanned(
        fetal_head(30, seed=30),
        (100, 90, 40),
        (3.0, 3.0, 4.0),
        BIAS,
        surroundings=fetal_surroundings(seed=30, voxel_mm=4),
    )
    assert not find_brain(image, affine).usable


def test_axes_in_any_order_and_direction():
    image, affine, _ = adult(wrong=BIAS)
    expected = find_brain(image, affine).mask
    for order in ((0, 1, 2), (2, 0, 1)):
        turned = image.transpose(order)[::-1]
        other = affine.copy()
        other[:3, :3] = affine[:3, list(order)]
        other[:3, 3] += other[:3, 0] * (turned.shape[0] - 1)
        other[:3, 0] *= -1
        found = find_brain(np.ascontiguousarray(turned), other).mask
        assert dice(found[::-1].transpose(np.argsort(order)), expected) > 0.999


def test_any_intensity_scale():
    image, affine, _ = ball()
    expected = find_brain(image, affine).mask
    for factor in (1e-6, 1e6):
        assert dice(find_brain(factor * image, affine).mask, expected) > 0.999


def test_what_is_not_finite_or_negative_is_air():
    image, affine, inside = ball()
    expected = find_brain(image, affine)
    image[:2], image[-2:], image[:, :2] = np.nan, np.inf, -500
    found = find_brain(image, affine)
    np.testing.assert_array_equal(found.mask, expected.mask)
    assert dice(found.mask, inside) > 0.97


def test_probability_is_soft_at_the_rim_and_agrees_with_the_mask():
    image, affine, _ = ball()
    found = find_brain(image, affine)
    assert found.probability.dtype == np.float32 and found.mask.dtype == bool
    np.testing.assert_array_equal(found.probability > 0.5, found.mask)
    middle = tuple(n // 2 for n in image.shape)
    assert found.probability[middle] > 0.99 and found.probability[0, 0, 0] < 0.01
    line = found.probability[middle[0] :, middle[1], middle[2]]
    assert (np.diff(line) <= 0).all() and ((line > 0.05) & (line < 0.95)).sum() >= 4


@pytest.mark.parametrize(
    ("image", "match"),
    [
        (np.zeros((8, 8, 8)), "same intensity"),
        (np.full((8, 8, 8), 700.0), "same intensity"),
        (np.full((8, 8, 8), np.nan), "same intensity"),
        (-np.random.default_rng(0).random((8, 8, 8)), "same intensity"),
        (np.zeros((8, 0, 8)), "three axes"),
        (np.zeros((8, 8, 8, 2)), "three axes"),
    ],
)
def test_nothing_to_see(image, match):
    with pytest.raises(ValueError, match=match):
        find_brain(image, np.diag([3.0, 3.0, 3.0, 1.0]))


def spots(*places, shape=(40, 40, 30)):
    image = np.zeros(shape)
    for place in places:
        image[place] = 1.0
    return image


@pytest.mark.parametrize(
    "image",
    [
        np.random.default_rng(0).random((40, 40, 30)),
        np.random.default_rng(0).rayleigh(30, (64, 64, 36)),
        np.random.default_rng(0).random((3, 3, 3)),
        np.array([[[0.0, 1.0]]]),
        spots((20, 20, 15)),
        # three arms: the right volume in the wrong shape
        spots(
            (slice(4, 36), slice(4, 14), slice(4, 14)),
            (slice(4, 14), slice(4, 36), slice(4, 14)),
            (slice(4, 14), slice(4, 14), slice(4, 28)),
        ),
    ],
    ids=["uniform", "rician", "tiny", "two voxels", "spot", "arms"],
)
def test_no_brain_is_not_believed(image):
    found = find_brain(image, np.diag([3.0, 3.0, 3.0, 1.0]))
    assert found.mask.shape == image.shape and not found.usable


def test_radius_of_whole_and_cut_brains():
    _, affine, inside = ball()
    assert brain_radius(inside, affine) == pytest.approx(28, rel=0.01)
    slab = inside.copy()
    slab[:, :, :14] = slab[:, :, 16:] = False
    assert brain_radius(slab, affine) == pytest.approx(0.9 * 28, rel=0.02)
    assert brain_radius(np.zeros_like(inside), affine) == 0


def ml(volume):
    return (3000 * volume / (4 * np.pi)) ** (1 / 3)


def test_population_of_published_volumes():
    for population, volumes in {
        "fetal": (30, 350),
        "infant": (400, 1000),
        "adult": (1100,),
    }.items():
        assert {population_of_size(ml(volume)) for volume in volumes} == {population}


@pytest.mark.skipif(not REAL.exists(), reason="no real series here")
@pytest.mark.parametrize(
    ("name", "volume"),
    # ml as found, after the outlines were looked at: brain and no scalp. The field of view cuts
    # both from below; the coils of xa30 dim the middle to a third.
    [("rtcloud", 1330), ("xa30", 1250)],
)
def test_real_adults(name, volume):
    path = next((REAL / "epi").glob(f"sub-{name}/func/*_bold.nii.gz"))
    image = nib.load(path)
    found = find_brain(np.asarray(image.dataobj[..., -1]), image.affine)
    voxel_ml = abs(np.linalg.det(image.affine[:3, :3])) / 1000
    assert found.mask.sum() * voxel_ml == pytest.approx(volume, rel=0.05)
    assert found.usable and population_of_size(found.radius_mm) == "adult"


@pytest.mark.skipif(not REAL.exists(), reason="no real series here")
def test_real_uterus_is_not_believed():
    image = nib.load(REAL / "fetal_epi" / "ep2d_10.nii.gz")
    assert not find_brain(np.asarray(image.dataobj), image.affine).usable

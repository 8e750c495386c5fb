"""Real stacks in the training ground: where their brains are, with and without their heads."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from unimo_bids.errors import InputError
from unimo_bids.spatial.boxes import Box
from unimo_bids.training import stacks
from unimo_bids.training.anatomies import load
from unimo_bids.training.packing import pack
from unimo_bids.training.scanner import Grid
from unimo_bids.training.stacks import BRAIN, HEAD, Placed, Stack, channels, gather_stacks

SIZES = (3.0, 3.0, 4.5)
SHAPE = (70, 64, 44)
CENTER, RADIUS = np.array((90.0, 110, 80)), 33.0


def _volume() -> tuple[np.ndarray, np.ndarray]:
    """A ball of 500, its left half brighter, in 200; and where it is."""
    axes = np.meshgrid(
        *(s * np.arange(n) for s, n in zip(SIZES, SHAPE, strict=True)), indexing="ij"
    )
    inside = sum((a - c) ** 2 for a, c in zip(axes, CENTER, strict=True)) < RADIUS**2
    return np.where(inside, np.where(axes[0] < CENTER[0], 600, 400), 200).astype(np.float32), inside


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    volume, inside = _volume()
    affine = np.diag([*SIZES, 1.0])
    nib.save(nib.Nifti1Image(volume, affine), tmp_path / "some_1.nii.gz")
    nib.save(nib.Nifti1Image(inside.astype(np.uint8), affine), tmp_path / "some_1_mask.nii.gz")
    return tmp_path


def _stored(folder: Path, codes: str) -> None:
    """Turn the axes of all images, as nibabel does."""
    for path in folder.glob("*.nii.gz"):
        image = nib.load(path)
        turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(codes))
        nib.save(image.as_reoriented(turn), path)


@pytest.fixture
def stack(folder: Path) -> Stack:
    return next(gather_stacks([folder]))


def test_a_mask_beside_an_image_is_its_brain_and_the_skull(stack):
    _, inside = _volume()
    assert not (stack.labels == BRAIN)[~inside].any()
    assert stack.fetus == "some"
    assert np.abs(stack.center - CENTER).max() < 0.5
    assert stack.radius == pytest.approx(RADIUS - 3, abs=1.5)  # to half a voxel
    far = np.argwhere(stack.labels == HEAD) * SIZES - CENTER
    assert RADIUS < np.linalg.norm(far, axis=1).max() < RADIUS + 10


@pytest.mark.parametrize("codes", ["PIL", "LAS"])
def test_however_a_stack_is_stored_training_sees_it_along_axes_of_ras(folder, stack, codes):
    _stored(folder, codes)
    (again,) = gather_stacks([folder])
    assert again.sizes == pytest.approx(stack.sizes)
    assert np.array_equal(again.image, stack.image)
    assert np.array_equal(again.labels, stack.labels)


@pytest.mark.parametrize("codes", ["RAS", "PIL"])
def test_a_marked_brain_is_outlined_without_its_eyes_and_what_is_dark(folder, monkeypatch, codes):
    """The stand-in takes all that is bright, and a dark bar beside it."""
    (folder / "some_1_mask.nii.gz").unlink()
    volume, inside = _volume()
    bar = np.zeros(SHAPE, dtype=bool)
    bar[30:60, 35:38, 16:19] = True
    affine = np.diag([*SIZES, 1.0])
    nib.save(nib.Nifti1Image(np.where(bar & ~inside, 90, volume), affine), folder / "some_1.nii.gz")
    center = CENTER / SIZES
    eye = center + np.array([RADIUS / 3 - 2, 0, 0])
    _stored(folder, codes)
    to_stored = np.linalg.inv(nib.load(folder / "some_1.nii.gz").affine) @ affine
    marks = [mark for place in (center, eye, eye) for mark in (to_stored @ [*place, 1])[:3]]
    names = [f"{what}_{a}" for what in ("brain", "left_eye", "right_eye") for a in "ijk"]
    table = "\t".join(["file", "gestational_age_weeks", *names])
    row = "\t".join(["some_1.nii.gz", "30.5", *(f"{mark:.1f}" for mark in marks)])
    (folder / "landmarks.tsv").write_text(f"{table}\n{row}\n")

    def answer(
        image: torch.Tensor, sizes: list[float], _trained: object, box: Box
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        seen = box.read(image, sizes)
        return ((seen > 300) | (seen < 100)).float(), []

    monkeypatch.setattr(stacks, "segmented", answer)
    stack = next(gather_stacks([folder]))
    brain = stack.labels == BRAIN
    places = np.argwhere(inside) * SIZES
    near_eye = np.linalg.norm(places - eye * SIZES, axis=1) < 8
    assert not brain[inside][near_eye].any()
    assert brain[inside].mean() > 0.85
    assert brain[~inside].mean() < 0.01
    assert stack.fetus == "30.5 weeks"


def test_what_is_packed_comes_back(stack, tmp_path):
    pack([stack], tmp_path / "pack.npz")
    (again,) = load(tmp_path / "pack.npz")
    assert isinstance(again, Stack)
    assert np.array_equal(again.image, stack.image)
    assert (again.sizes, again.name, again.fetus) == (stack.sizes, stack.name, stack.fetus)


@pytest.mark.parametrize("seed", range(6))
def test_the_brain_is_where_the_image_shows_it_and_goes_with_the_head(stack, seed):
    grid = Grid((60, 60, 50), (4.0, 4.0, 4.0), 2)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    placed = Placed(stack, rng)
    place = torch.tensor([20.0, -15.0, 5.0])
    values, points = channels(stack, torch.device("cpu")), grid.points(torch.device("cpu"))
    image, brain = placed.rendered(values, points, place, rng, grid, generator, headless=False)
    inside = brain > 0.5
    radius = (3 * float(inside.sum()) * 64 / (4 * np.pi)) ** (1 / 3)
    assert radius == pytest.approx(placed.radius, rel=0.12)
    middle = points[inside].mean(dim=0)
    assert (middle - place).norm() < 12  # up to the warp
    around = (image > 0.01 * image.max()) & ~inside
    assert image[inside].median() > 1.5 * image[around].median()
    other, nothing = placed.rendered(values, points, place, rng, grid, generator, headless=True)
    assert nothing.max() == 0
    assert (other[inside] - other[inside].mean()).abs().max() > 0


def test_a_stack_of_which_nothing_is_known_is_refused(folder):
    (folder / "some_1_mask.nii.gz").unlink()
    with pytest.raises(InputError, match="neither mask nor landmarks"):
        next(gather_stacks([folder]))
    with pytest.raises(InputError, match="holds no stacks"):
        next(gather_stacks([folder / "nowhere"]))

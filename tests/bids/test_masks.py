from __future__ import annotations

import numpy as np
import pytest

from tests.bids.layouts import AFFINE, dataset, image, raw, settings, write
from unimo_bids.bids.query import find_runs

BOLD = "sub-01_ses-1_task-rest_run-01_bold.nii.gz"
FUNC = "sub-01/ses-1/func"


@pytest.fixture
def folder(tmp_path):
    return dataset(tmp_path / "raw", BOLD)


def found(folder, **derivatives):
    (run,) = find_runs(settings(folder, derivatives=derivatives)).runs
    return run


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("sub-01_ses-1_task-rest_run-01_desc-brain_mask.nii.gz", None),
        ("sub-01_ses-1_task-rest_run-01_desc-brain_mask.nii", None),
        ("sub-01_ses-1_task-rest_run-1_desc-brain_mask.nii.gz", None),  # a number
        ("sub-01_ses-1_run-01_task-rest_desc-brain_mask.nii.gz", 4),  # Snakebids' order, 4D
        ("sub-01_ses-1_task-rest_run-01_space-orig_desc-brain_mask.nii.gz", None),
        ("sub-01_ses-1_task-rest_run-01_space-boldref_desc-brain_mask.nii.gz", 1),
    ],
)
@pytest.mark.parametrize("root", [".", "results"])
def test_mask_of_the_run(folder, tmp_path, name, frames, root):
    mask = image(tmp_path / "masks" / root / FUNC / name, frames)
    run = found(folder, masks=tmp_path / "masks")
    assert run.mask == mask and run.warnings == ()


@pytest.mark.parametrize(
    "name",
    [
        "sub-01_ses-1_task-rest_run-02_desc-brain_mask.nii.gz",
        "sub-01_ses-1_task-rest_desc-brain_mask.nii.gz",  # of all runs together
        "sub-01_ses-1_task-rest_run-01_acq-x_desc-brain_mask.nii.gz",
        "sub-01_ses-1_task-rest_run-01_space-T1w_desc-brain_mask.nii.gz",
        "sub-01_ses-1_task-rest_run-01_echo-1_desc-brain_mask.nii.gz",
        "sub-01_ses-1_task-rest_run-01_desc-brain_mask.nii.gz.json",
    ],
)
def test_masks_of_something_else(folder, tmp_path, name):
    path = tmp_path / "masks" / FUNC / name
    image(path) if name.endswith("gz") else write(path, {})
    assert found(folder, masks=tmp_path / "masks").mask is None


def test_first_dataset_and_plainest_name_win(folder, tmp_path):
    stem = "sub-01_ses-1_task-rest_run-01"
    plain = image(tmp_path / "b" / FUNC / f"{stem}_desc-brain_mask.nii.gz", None)
    image(tmp_path / "b" / FUNC / f"{stem}_space-orig_desc-brain_mask.nii.gz", None)
    other = image(tmp_path / "a" / FUNC / f"{stem}_desc-brain_mask.nii.gz", None)
    assert found(folder, none=tmp_path, b=tmp_path / "b", a=tmp_path / "a").mask == plain
    assert found(folder, a=tmp_path / "a", b=tmp_path / "b").mask == other


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"shape": (6, 6, 6)}, "6 × 6 × 6 voxels, the series 6 × 6 × 5"),
        ({"frames": 3}, "3 frames, the series 4"),
        ({"affine": AFFINE + np.eye(4, k=3)}, "lies elsewhere in space"),
    ],
)
def test_mask_on_another_grid_is_not_used(folder, tmp_path, options, reason):
    path = tmp_path / "masks" / FUNC / BOLD.replace("_bold", "_desc-brain_mask")
    image(path, **{"frames": None, **options})
    run = found(folder, masks=tmp_path / "masks")
    assert run.mask is None
    (warning,) = run.warnings
    assert reason in warning and path.name in warning


def test_mask_of_an_echo(tmp_path):
    names = [f"sub-01_task-rest_echo-{n}_bold.nii.gz" for n in (1, 2)]
    folder = dataset(tmp_path / "raw", *names)
    place = tmp_path / "masks" / "sub-01" / "func"
    mask = image(place / "sub-01_task-rest_echo-1_desc-brain_mask.nii.gz", None)
    assert found(folder, masks=tmp_path / "masks").mask == mask


def test_damaged_series_is_left_for_its_run_to_refuse(folder, tmp_path):
    write(raw(folder, BOLD), "not an image")
    path = tmp_path / "masks" / FUNC / BOLD.replace("_bold", "_desc-brain_mask")
    assert found(folder, masks=tmp_path / "masks").mask is None
    assert found(folder, masks=image(path, None).parents[3]).mask == path


def test_unreadable_mask_is_not_used(folder, tmp_path):
    path = tmp_path / "masks" / FUNC / BOLD.replace("_bold", "_desc-brain_mask")
    write(path, "not an image")
    run = found(folder, masks=tmp_path / "masks")
    assert run.mask is None and "cannot be read" in run.warnings[0]

"""Small datasets to look for runs in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from unimo_bids.settings import Settings

SHAPE = (6, 6, 5)
AFFINE = np.diag([3.0, 3.0, 4.0, 1.0])


def image(
    path: Path,
    frames: int | None = 4,
    tr: float | None = 2.0,
    shape: tuple[int, int, int] = SHAPE,
    affine: np.ndarray = AFFINE,
) -> Path:
    """A tiny image, 3D without frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = shape if frames is None else (*shape, frames)
    made = nib.Nifti1Image(np.ones(size, np.int16), affine)
    made.header.set_xyzt_units("mm", "sec")
    if frames is not None and tr is not None:
        made.header.set_zooms((*made.header.get_zooms()[:3], tr))
    made.to_filename(path)
    return path


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def dataset(
    folder: Path, *series: str, sidecars: Mapping[str, Any] | None = None, **more: Any
) -> Path:
    """A raw dataset of series named without folder, ``sub-01_task-rest_bold.nii.gz``."""
    description = {"Name": "small", "BIDSVersion": "1.10.0", "DatasetType": "raw", "License": "CC0"}
    write(folder / "dataset_description.json", description | more)
    write(folder / "README", "A dataset for tests, without people.\n")
    subjects = sorted({name.split("_")[0] for name in series})
    write(folder / "participants.tsv", "\n".join(["participant_id", *subjects]) + "\n")
    for name in series:
        image(raw(folder, name), None if "_sbref" in name else 4)
    if sidecars is None:
        tasks = {part for name in series for part in name.split("_") if part.startswith("task-")}
        sidecars = {
            f"{task}_bold.json": {"TaskName": task[5:], "RepetitionTime": 2.0} for task in tasks
        }
    for name, content in sidecars.items():
        write(folder / name, content)
    return folder


def raw(folder: Path, name: str) -> Path:
    """Where a series of this name lies."""
    parts = [part for part in name.split("_") if part.startswith(("sub-", "ses-"))]
    return folder.joinpath(*parts, "func", name)


def settings(bids_dir: Path, **options: Any) -> Settings:
    return Settings(bids_dir=bids_dir, out_dir=bids_dir / "derivatives" / "unimo-bids", **options)

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.cli import faked
from unimo_bids.brain import run as brain_run
from unimo_bids.pipeline import steps

SHAPE = (12, 14, 10, 6)
AFFINE = np.array([[-3, 0, 0, 16.5], [0, 3, 0, -19.5], [0, 0, 4, -18.0], [0, 0, 0, 1]])


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    image = nib.Nifti1Image(data, affine)
    if data.ndim == 4:
        image.header.set_zooms((*image.header.get_zooms()[:3], 2.5))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
    return path


@pytest.fixture
def data() -> np.ndarray:
    return np.random.default_rng(0).integers(100, 900, SHAPE).astype(np.int16)


@pytest.fixture
def bold(tmp_path: Path, data: np.ndarray) -> Path:
    (tmp_path / "in").mkdir()
    return save(tmp_path / "in" / "bold.nii.gz", data)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "estimate_motion", faked.estimate)
    monkeypatch.setattr(brain_run, "extract_brain", faked.extract)


def command(
    *arguments: object, prefix: Sequence[str] = (), **options: object
) -> subprocess.Popen[str]:
    """Start the command with the quick engine, in a process of its own."""
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "tests.cli.faked", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        **options,
    )

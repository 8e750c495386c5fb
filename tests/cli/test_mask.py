"""`unimo-mask`, with networks that find whatever is bright."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.brain.bright import AFFINE, bright_networks, volume_of
from unimo_bids.brain import unimo
from unimo_bids.cli.mask import main

ONE = volume_of(((150, 120, 90), 40)).numpy()
MOVED = volume_of(((165, 112, 94), 40)).numpy()


@pytest.fixture(autouse=True)
def bright(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = bright_networks()
    monkeypatch.setattr(unimo, "_networks", lambda _device: trained)


def _saved(path: Path, data: np.ndarray) -> str:
    nib.Nifti1Image(data.astype(np.float32), AFFINE).to_filename(path)
    return str(path)


def _dice(mask: np.ndarray, volume: np.ndarray) -> float:
    inside = volume > 0
    return float(2 * (mask & inside).sum() / (mask.sum() + inside.sum()))


def test_one_volume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mask.nii.gz"
    assert main([_saved(tmp_path / "in.nii", ONE), str(out), "--population", "fetal"]) == 0
    image = nib.load(out)
    assert image.shape == ONE.shape and image.get_data_dtype() == np.uint8
    assert np.allclose(image.affine, AFFINE)
    assert _dice(np.asanyarray(image.dataobj) > 0, ONE) > 0.93
    said = capsys.readouterr()
    assert "ml, by neural networks" in said.out and said.out.endswith(f"{out}\n")
    assert said.err == ""


def test_every_frame_of_a_series(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series = np.stack([ONE, MOVED, np.zeros_like(ONE), ONE], axis=-1)
    out = tmp_path / "mask.nii.gz"
    assert main([_saved(tmp_path / "in.nii.gz", series), str(out)]) == 0
    masks = np.asanyarray(nib.load(out).dataobj)
    assert masks.shape == series.shape and not masks[..., 2].any()
    assert _dice(masks[..., 1] > 0, MOVED) > 0.93
    said = capsys.readouterr()
    assert "in 3 of 4 frames" in said.out
    assert "The brain was not found in 1 frame (2)." in said.err


def test_a_brain_unlike_the_population_is_doubted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [_saved(tmp_path / "in.nii", ONE), str(tmp_path / "mask.nii")]
    assert main([*arguments, "--population", "adult"]) == 0
    assert "is not that of an adult brain" in capsys.readouterr().err


def test_without_a_brain_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speck = volume_of(((150, 120, 90), 6)).numpy()
    out = tmp_path / "mask.nii.gz"
    assert main([_saved(tmp_path / "in.nii", speck), str(out)]) == 2
    assert "no brain was found" in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize("name", ["in.nii", "there.nii.gz", "mask.mgz"])
def test_what_is_there_is_not_overwritten(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = _saved(tmp_path / "in.nii", ONE)
    (tmp_path / "there.nii.gz").write_bytes(b"precious")
    assert main([given, str(tmp_path / name)]) == 2
    assert name in capsys.readouterr().err
    assert (tmp_path / "there.nii.gz").read_bytes() == b"precious"


def test_a_file_that_exists_is_overwritten_if_that_is_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "there.nii.gz"
    out.write_bytes(b"old")
    assert main([_saved(tmp_path / "in.nii", ONE), str(out), "--overwrite"]) == 0
    assert nib.load(out).shape == ONE.shape

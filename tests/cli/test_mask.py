"""`unimo-mask`, with networks that find whatever is bright."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.brain.bright import AFFINE, bright_networks, volume_of
from unimo_bids.brain import finder
from unimo_bids.cli.mask import main

ONE = volume_of(((150, 120, 90), 40)).numpy()
MOVED = volume_of(((165, 112, 94), 40)).numpy()


@pytest.fixture(autouse=True)
def bright(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = bright_networks()
    monkeypatch.setattr(finder, "_networks", lambda _device: trained)


def _saved(path: Path, data: np.ndarray) -> str:
    nib.Nifti1Image(data.astype(np.float32), AFFINE).to_filename(path)
    return str(path)


def _dice(mask: np.ndarray, volume: np.ndarray) -> float:
    inside = volume > 0
    return float(2 * (mask & inside).sum() / (mask.sum() + inside.sum()))


def test_one_volume(tmp_path, capsys):
    out = tmp_path / "mask.nii.gz"
    assert main([_saved(tmp_path / "in.nii", ONE), str(out), "--population", "fetal"]) == 0
    image = nib.load(out)
    assert image.shape == ONE.shape and image.get_data_dtype() == np.uint8
    assert np.allclose(image.affine, AFFINE)
    assert _dice(np.asanyarray(image.dataobj) > 0, ONE) > 0.93
    said = capsys.readouterr()
    assert "ml, by neural networks" in said.out and said.out.endswith(f"{out}\n")
    assert said.err == ""


def test_a_margin_around_the_brain(tmp_path, capsys):
    """A ball of 40 mm becomes one of 52, where it is found; its volume is told without."""
    out, series = tmp_path / "mask.nii.gz", np.stack([ONE, np.zeros_like(ONE)], axis=-1)
    assert main([_saved(tmp_path / "in.nii", series), str(out), "--margin", "12"]) == 0
    masks = np.asanyarray(nib.load(out).dataobj) > 0
    assert _dice(masks[..., 0], volume_of(((150, 120, 90), 52)).numpy()) > 0.93
    assert not masks[..., 1:].any()
    told = float(capsys.readouterr().out.split(" ml")[0].split()[-1])
    assert told == pytest.approx(4 / 3 * np.pi * 4**3, rel=0.15)


def test_every_frame_of_a_series(tmp_path, capsys):
    series = np.stack([ONE, MOVED, np.zeros_like(ONE), ONE], axis=-1)
    out = tmp_path / "mask.nii.gz"
    assert main([_saved(tmp_path / "in.nii.gz", series), str(out)]) == 0
    masks = np.asanyarray(nib.load(out).dataobj)
    assert masks.shape == series.shape and not masks[..., 2].any()
    assert _dice(masks[..., 1] > 0, MOVED) > 0.93
    said = capsys.readouterr()
    assert "in 3 of 4 frames" in said.out
    assert "The brain was not found in 1 frame (2)." in said.err


def test_without_a_brain_nothing_is_written(tmp_path, capsys):
    speck = volume_of(((150, 120, 90), 6)).numpy()
    out = tmp_path / "mask.nii.gz"
    assert main([_saved(tmp_path / "in.nii", speck), str(out)]) == 2
    said = capsys.readouterr().err
    assert "no brain was found: point at it with --brain-center=X,Y,Z" in said
    assert not out.exists()


@pytest.mark.parametrize("name", ["in.nii", "there.nii.gz", "mask.mgz"])
def test_what_is_there_is_not_overwritten(tmp_path, name, capsys):
    given = _saved(tmp_path / "in.nii", ONE)
    (tmp_path / "there.nii.gz").write_bytes(b"precious")
    assert main([given, str(tmp_path / name)]) == 2
    assert name in capsys.readouterr().err
    assert (tmp_path / "there.nii.gz").read_bytes() == b"precious"
    if name == "there.nii.gz":
        assert main([given, str(tmp_path / name), "--overwrite"]) == 0
        assert nib.load(tmp_path / name).shape == ONE.shape


def test_the_brain_that_is_pointed_at(tmp_path, capsys):
    small, large = ((60, 60, 90), 34), ((200, 180, 90), 36)
    image = nib.Nifti1Image(volume_of(small, large).numpy(), AFFINE + _AWAY)
    image.to_filename(tmp_path / "in.nii")
    given = [str(tmp_path / "in.nii"), str(tmp_path / "mask.nii"), "--overwrite"]
    for words, chosen in (
        (["--brain-center", "-40,60,90"], small),
        (["--brain-center=20,20,20vox"], small),
        (["--brain-center", "100,180,90"], large),
    ):
        assert main([*given, *words]) == 0
        mask = np.asanyarray(nib.load(tmp_path / "mask.nii").dataobj) > 0
        assert _dice(mask, volume_of(chosen).numpy()) > 0.93
        assert capsys.readouterr().err == ""


_AWAY = np.zeros((4, 4))
_AWAY[0, 3] = -100

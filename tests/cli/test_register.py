"""`unimo-register`, on a head of ellipsoids."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.motion import phantom
from unimo_bids.cli.register import main
from unimo_bids.files.transforms import read_itk

POSE = phantom.pose((25, -10, 40), (12, -6, 4))
FINE = (44, 48, 42)
OTHER = phantom.grid_affine((-2.5, 2.5, 2.5), (0.1, 0.2, 0.0), FINE)


def _saved(path: Path, data: torch.Tensor, affine: torch.Tensor) -> str:
    nib.Nifti1Image(data.numpy(), affine.numpy()).to_filename(path)
    return str(path)


@pytest.fixture
def volumes(tmp_path: Path) -> list[str]:
    rest = phantom.rest(1)[0]
    return [
        _saved(tmp_path / "fixed.nii.gz", phantom.volume(rest), phantom.AFFINE),
        _saved(tmp_path / "moving.nii.gz", phantom.volume(POSE, OTHER, FINE), OTHER),
    ]


def _off(pose: np.ndarray) -> float:
    return float(phantom.error_mm(torch.from_numpy(pose)[None], POSE[None]))


def test_pose_is_written_in_all_forms(
    volumes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = tmp_path / "out" / "pair"
    assert main([*volumes, str(prefix)]) == 0
    pose = np.load(f"{prefix}_pose.npy")
    assert _off(pose) < 0.05
    assert np.allclose(read_itk(f"{prefix}_xfm.txt")[0], pose)
    facts = json.loads(Path(f"{prefix}_pose.json").read_text())
    assert np.allclose(facts["pose_fixed_to_moving"], pose)
    assert 0 <= facts["confidence"] <= 1 and facts["similarity"] > 0.99
    assert all(0 < sd < 0.1 for sd in facts["standard_deviations"].values())
    moved, fixed = nib.load(f"{prefix}_moved.nii.gz"), nib.load(volumes[0])
    assert moved.shape == fixed.shape and np.allclose(moved.affine, fixed.affine)
    inside = phantom.head_mask().numpy() > 0
    both = [image.get_fdata()[inside] for image in (moved, fixed)]
    assert np.corrcoef(both)[0, 1] > 0.999
    assert "turned by 4" in capsys.readouterr().out


def test_bare_network_has_no_standard_deviations(volumes: list[str], tmp_path: Path) -> None:
    masks = [
        _saved(tmp_path / "fm.nii", phantom.head_mask(), phantom.AFFINE),
        _saved(tmp_path / "mm.nii", (phantom.volume(POSE, OTHER, FINE) > 20).float(), OTHER),
    ]
    given = ["--fixed-mask", masks[0], "--moving-mask", masks[1], "--no-refine"]
    for fusion in ("information", "slerp", "image", "shape"):
        prefix = tmp_path / fusion
        assert main([*volumes, str(prefix), *given, "--fusion", fusion]) == 0
        facts = json.loads(Path(f"{prefix}_pose.json").read_text())
        assert facts["standard_deviations"] is None and facts["start"] == "network"


def test_what_is_there_is_not_overwritten_unasked(
    volumes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x_pose.npy").write_bytes(b"mine")
    call = [*volumes, str(tmp_path / "x"), "--no-network"]
    assert main(call) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*call, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--no-refine", "--no-network"], "nothing to do"),
        (["--fixed-mask", "none.nii"], "none.nii"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(
    volumes: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    said: str,
) -> None:
    assert main([*volumes, str(tmp_path / "x"), *options]) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error


def test_a_series_is_refused(
    volumes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series = tmp_path / "series.nii"
    _saved(series, torch.rand(8, 8, 8, 3), torch.eye(4))
    assert main([str(series), volumes[1], str(tmp_path / "x")]) == 2
    assert "3 volumes" in capsys.readouterr().err

from __future__ import annotations

import json

import numpy as np
import pytest

from unimo_bids.cli import demo, run
from unimo_bids.files.transforms import write_itk
from unimo_bids.simulation import fetal_head, simulate

NAME = "sub-01_ses-1_task-rest"


def moved_by(millimetres):
    poses = np.tile(np.eye(4), (len(millimetres), 1, 1))
    poses[:, 0, 3] = millimetres
    return poses


@pytest.fixture
def truth(monkeypatch):
    """A head that is 0, 2 and 3 mm away."""
    series = simulate(
        fetal_head(weeks=22, voxel_mm=3), moved_by([0, 2, 3]), shape=(20, 20, 16), voxel_sizes=5
    )
    monkeypatch.setattr(demo, "_simulated", lambda frames, seed: {NAME: series})
    return series


def test_a_dataset_with_its_truth(tmp_path, truth, capsys):
    assert demo.main([str(tmp_path / "bids")]) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "bids")]
    about = json.loads((tmp_path / "bids" / "dataset_description.json").read_text())
    assert about["DatasetType"] == "raw"
    found = tmp_path / "bids/sourcedata/truth/sub-01/ses-1" / f"{NAME}_poses.npy"
    np.testing.assert_array_equal(np.load(found), truth.poses)
    masks = tmp_path / "bids/derivatives/masks/sub-01/ses-1/func"
    assert (masks / f"{NAME}_desc-brain_mask.nii.gz").exists()
    rows = (tmp_path / "bids" / "participants.tsv").read_text().splitlines()
    assert "gestational_age" in rows[0] and rows[1].split("\t")[:2] == ["sub-01", "30"]


def test_the_table_measures_against_the_truth(tmp_path, truth, monkeypatch, capsys):
    called = []

    def pretend(words):
        """Leave transforms that are relative to frame 1, and 0, 0 and 0.5 mm wrong."""
        called.append(words)
        if words[2] == "participant":
            func = tmp_path / "out/sub-01/ses-1/func"
            func.mkdir(parents=True)
            path = func / f"{NAME}_from-orig_to-boldref_mode-image_desc-hmc_xfm.txt"
            write_itk(path, moved_by([-2, 0, 1.5]))
            (tmp_path / "out" / "sub-01.html").touch()
        return 0

    monkeypatch.setattr(run, "main", pretend)
    assert demo.main([str(tmp_path / "bids"), "--run", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(f"{NAME}, motion")
    assert lines[1].split()[-3:] == ["1.000", "1.900", "2.000"]
    assert lines[2].split()[-3:] == ["0.000", "0.450", "0.500"]
    assert lines[-1] == str(tmp_path / "out" / "sub-01.html")
    assert [words[2] for words in called] == ["participant", "group"]
    assert "--derivatives" not in called[0]  # the app finds the brains by itself

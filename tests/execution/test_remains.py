"""Damaged files in the work folder cost their step, and nothing else."""

from __future__ import annotations

import gzip
import json
import pickle

import nibabel as nib
import numpy as np
import pytest

from unimo_bids.execution.remains import remove_damaged
from unimo_bids.files.mapped import keep_series
from unimo_bids.files.series import read_series


@pytest.fixture
def steps(tmp_path):
    for step in ("brain", "rigid", "confounds", "figures", "prepare"):
        (tmp_path / "run_wf" / step).mkdir(parents=True)
    run = tmp_path / "run_wf"
    image = nib.Nifti1Image(np.random.default_rng(0).random((8, 9, 10, 3)), np.eye(4))
    image.to_filename(run / "brain" / "mask.nii.gz")
    np.savez(run / "rigid" / "motion.npz", poses=np.zeros((3, 4, 4)), reference=2)
    (run / "confounds" / "result.pklz").write_bytes(gzip.compress(pickle.dumps([1, 2])))
    (run / "confounds" / "_0x12.json").write_text("no JSON, though nipype calls it so")
    (run / "figures" / "similarity.json").write_text(json.dumps({"before": [0.5]}))
    (run / "figures" / "picture.svg").write_text("<svg")
    keep_series(run / "prepare" / "echo-0.series", read_series(run / "brain" / "mask.nii.gz"))
    return run


def test_what_is_whole_stays(steps):
    before = sorted(steps.rglob("*"))
    assert remove_damaged(steps) == []
    assert sorted(steps.rglob("*")) == before


@pytest.mark.parametrize("keep", [0, 3, 0.5, -1])
@pytest.mark.parametrize(
    "name", ["brain/mask.nii.gz", "rigid/motion.npz", "confounds/result.pklz",
             "figures/similarity.json", "prepare/echo-0.series"]
)  # fmt: skip
def test_a_step_with_a_file_that_is_cut_goes(steps, name, keep):
    path = steps / name
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if keep == 0.5 else keep])
    assert remove_damaged(steps) == [path]
    assert not path.parent.exists() and len(list(steps.iterdir())) == 4


def test_nothing_is_there_yet(tmp_path):
    assert remove_damaged(tmp_path / "nowhere") == []

"""The compact file of anatomies."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from unimo_bids.errors import InputError
from unimo_bids.simulation.fetal import fetal_head
from unimo_bids.training.anatomies import IN_BRAIN, gather, load, save


def test_what_is_loaded_is_what_was_saved(balls, tmp_path):
    save(balls, tmp_path / "pack.npz")
    for before, after in zip(balls, load(tmp_path / "pack.npz"), strict=True):
        assert np.array_equal(before.labels, after.labels)
        assert np.array_equal(before.origin, after.origin)
        assert before.kind == after.kind
        assert before.held_back == after.held_back


def test_something_else_is_refused(tmp_path):
    (tmp_path / "x.npz").write_text("no pack")
    with pytest.raises(InputError, match="no file of packed anatomies"):
        load(tmp_path / "x.npz")
    with pytest.raises(InputError, match="holds no label maps"):
        next(gather([tmp_path / "nowhere"], 1, 1))


def test_a_label_map_becomes_a_head_with_its_brain_marked(tmp_path):
    head = fetal_head(24, seed=3, voxel_mm=2.0)
    codes = np.where(head.labels <= 8, head.labels, 0).astype(np.uint8)
    nib.save(nib.Nifti1Image(codes, head.affine), tmp_path / "map.nii.gz")
    packed = next(gather([tmp_path], 0, 0))
    brain = packed.labels >= IN_BRAIN
    tissue = np.isin(packed.labels % IN_BRAIN, head.brain_labels)
    assert packed.kind == "fetal"
    assert (brain & tissue).sum() == tissue.sum()
    # ml: the brain's, and the sulci that a mask spans
    volume = brain.sum() * packed.voxel_mm**3 / 1000
    assert 1 <= volume / (4 / 3 * np.pi * packed.radius**3 / 1000) < 1.5
    center = np.argwhere(brain).mean(axis=0)
    assert np.abs(center - packed.origin).max() * packed.voxel_mm < 4

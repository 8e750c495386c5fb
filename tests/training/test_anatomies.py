"""The compact file of anatomies."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from unimo_bids.errors import InputError
from unimo_bids.simulation.fetal import BONE, BRAIN_LABELS, EYE, FLUID, MARROW, SOFT, fetal_head
from unimo_bids.training.anatomies import IN_BRAIN, gather, load
from unimo_bids.training.packing import pack


def test_what_is_loaded_is_what_was_saved(balls, tmp_path):
    pack(balls, tmp_path / "pack.npz")
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


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A label map of a fetal brain, packed."""
    folder = tmp_path_factory.mktemp("maps")
    head = fetal_head(24, seed=3, voxel_mm=2.0)
    codes = np.where(head.labels <= 8, head.labels, 0).astype(np.uint8)
    nib.save(nib.Nifti1Image(codes, head.affine), folder / "map.nii.gz")
    return next(gather([folder], 0, 0))


def test_a_label_map_becomes_a_head_with_its_brain_marked(packed):
    brain = packed.labels >= IN_BRAIN
    tissue = np.isin(packed.labels % IN_BRAIN, BRAIN_LABELS)
    assert packed.kind == "fetal"
    assert (brain & tissue).sum() == tissue.sum()
    # ml: the brain's, and the fluid in sulci and up to the skull, a third of the whole at 24 weeks
    volume = brain.sum() * packed.voxel_mm**3 / 1000
    assert 1.2 <= volume / (4 / 3 * np.pi * packed.radius**3 / 1000) < 1.8
    center = np.argwhere(brain).mean(axis=0)
    assert np.abs(center - packed.origin).max() * packed.voxel_mm < 4


def test_a_fetal_mask_ends_at_the_skull(packed):
    labels, brain = packed.labels % IN_BRAIN, packed.labels >= IN_BRAIN
    assert not (brain & np.isin(labels, (BONE, SOFT, EYE, MARROW))).any()
    # its surface, above the base: the bones are what is next to it
    above = np.arange(brain.shape[2]) > packed.origin[2]
    beside = ndimage.binary_dilation(brain) & ~brain & above
    assert (labels[beside] == BONE).mean() > 0.95
    # fluid that is not in it is in mouth and spinal canal, well below
    outside = np.argwhere((labels == FLUID) & ~brain)
    assert outside[:, 2].max() < packed.origin[2] - packed.radius / 2

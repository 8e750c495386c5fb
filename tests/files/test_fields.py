import json

import nibabel as nib
import numpy as np
import pytest
import torch

from unimo_bids.deformation.epi import Distortion, ShiftField
from unimo_bids.errors import InputError
from unimo_bids.files.fields import read_shift_field, write_itk_field, write_shift_field
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid

AFFINE = [[-3, 0, 0, 30], [0, 2.9, 0.5, -30], [0, -0.5, 2.9, -20], [0, 0, 0, 1]]
GRID = Grid.of((18, 20, 16), AFFINE)


@pytest.fixture
def field() -> ShiftField:
    first, last = torch.tensor([1.0, 2, 1]).double(), torch.tensor([16.0, 18, 15]).double()
    drawn = np.random.default_rng(2).uniform(-0.5, 0.5, (2, 3, 2))
    return ShiftField(GRID, 1, first, last, torch.from_numpy(drawn))


def test_a_field_is_read_as_it_was_written(field, tmp_path):
    path = tmp_path / "x_distortion.json"
    write_shift_field(path, field)
    read = read_shift_field(path)
    assert read.axis == 1 and read.grid.shape == GRID.shape
    assert torch.equal(read.shift, field.shift) and torch.equal(read.density, field.density)


@pytest.mark.parametrize("content", ["not JSON", "[]", json.dumps({"Model": "another"})])
def test_what_holds_no_field_is_refused_by_name(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"x\.json"):
        read_shift_field(path)


def test_itk_reads_the_warp(field, tmp_path):
    """In LPS, at the reference's voxels, as a vector image."""
    pose = rigid.from_parameters(torch.tensor([0.1, 0, 0.2]), torch.tensor([2.0, -3, 1]))
    warp = Distortion(field).warp(pose.double())
    path = tmp_path / "x_warp.nii.gz"
    write_itk_field(path, warp, GRID)
    image = nib.load(path)
    assert image.shape == (*GRID.shape, 1, 3) and image.header.get_intent()[0] == "vector"
    index = (4, 11, 9)
    place = rigid.transform(GRID.affine, torch.tensor([index]).double())
    moved = (warp(place) - place)[0].numpy()
    np.testing.assert_allclose(image.get_fdata()[(*index, 0)], moved * [-1, -1, 1], atol=1e-4)

"""Places that a person gives: how they are written, and where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Header

from unimo_bids.brain.place import locate, read_place
from unimo_bids.errors import InputError
from unimo_bids.files.series import Series

# Turned, flipped, of uneven voxels, its first voxel far from the origin
AFFINE = np.array([[0, 0, -4.0, 60], [-3.0, 0, 0, 40], [0, 2.0, 0, -50], [0, 0, 0, 1]])
SHAPE = (20, 40, 30)


@pytest.fixture
def series() -> Series:
    data = np.zeros((*SHAPE, 1), np.float32)
    return Series(data, AFFINE, Nifti1Header(), None, (), Path("bold.nii.gz"))


@pytest.mark.parametrize(
    "text", ["", "1,2", "1,2,3,4", "1;2;3", "a,b,c", "nan,1,2", "1,2,3mm", "1 2 3", "0x1,2,3"]
)
def test_what_is_no_place(text):
    with pytest.raises(ValueError, match="is no place; give X,Y,Z"):
        read_place(text)


def test_a_place_in_voxels_is_where_the_affine_says(series):
    assert locate("0,0,0vox", series) == (60, 40, -50)
    assert locate("2,5,10vox", series) == (20, 34, -40)
    assert locate("20,34,-40", series) == (20, 34, -40)
    assert locate("1e1,.5,-3.", series) == pytest.approx((10, 0.5, -3))


@pytest.mark.parametrize("place", ["62,41.5,-51", "-58,-18.5,29", "-0.5,39.5,29.5vox"])
def test_the_field_of_view_ends_at_the_faces_of_voxels(series, place):
    locate(place, series)


@pytest.mark.parametrize(
    ("place", "seen"),
    [
        ("63,0,0", r"\(x -58 to 62, y -18 to 42, z -51 to 29 mm\)"),
        ("0,-19,0", r"mm\)"),
        ("0,0,1e400", r"mm\)"),
        ("20,0,0vox", r"\(0 to 19, 0 to 39, 0 to 29 voxels\)"),
        ("-1,0,0vox", r"voxels\)"),
    ],
)
def test_a_place_outside_is_refused(series, place, seen):
    said = "participants.tsv: brain_center"
    found = rf"^bold\.nii\.gz: {said} {place} lies outside of the field of view .*{seen}; give a "
    with pytest.raises(InputError, match=found):
        locate(place, series, said)

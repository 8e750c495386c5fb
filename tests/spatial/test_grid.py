import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from tests.spatial.cases import AFFINES, POSES, f64
from unimo_bids.spatial import grid as grids
from unimo_bids.spatial import rigid

SHAPES = [(4, 5, 6), (7, 3, 1), (1, 1, 2)]
ROUNDING = 1e-12  # tens of roundings of 2e-16 at indices of some 10 and places of some 100 mm

every_affine = pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


@every_affine
def test_voxel_sizes_are_nibabels(affine):
    expected = nib.affines.voxel_sizes(affine.numpy())
    np.testing.assert_allclose(grids.voxel_sizes(affine), expected, rtol=1e-14)


@every_affine
@every_shape
def test_world_points_are_nibabels(affine, shape):
    expected = nib.affines.apply_affine(affine.numpy(), np.array(list(np.ndindex(shape))))
    np.testing.assert_allclose(grids.world_points(shape, affine), expected, atol=ROUNDING)


@every_affine
@given(pose=POSES)
def test_index_map_goes_through_the_world(affine, pose):
    other = AFFINES["sheared"]
    indices = grids.voxel_centers((3, 4, 2))
    through = rigid.transform(grids.index_map(other, pose, affine), indices)
    # back to millimetres, both ways: coordinates of some 500 mm, a solved 3×3 in between
    torch.testing.assert_close(
        rigid.transform(other, through),
        rigid.transform(pose, rigid.transform(affine, indices)),
        rtol=0,
        atol=1e-10,
    )


@given(st.tuples(*[st.floats(-2, 8)] * 3), st.floats(0, 2))
@example(index=(0.1, 1.0, 1.0), margin=0.1)  # on the border, in numbers that float32 has not
def test_inside_is_a_box_between_the_voxel_centers(index, margin):
    expected = all(margin <= i <= n - 1 - margin for i, n in zip(index, (5, 6, 7), strict=True))
    found = grids.inside(f64([index]), (5, 6, 7), margin)
    assert found.tolist() == [expected]


def test_inside_a_single_slice_is_half_a_voxel_either_side():
    depths = f64([-0.51, -0.5, 0.0, 0.5, 0.51])
    indices = torch.stack([torch.full_like(depths, 2), torch.full_like(depths, 2), depths], dim=1)
    expected = [False, True, True, True, False]
    assert grids.inside(indices, (5, 5, 1)).tolist() == expected
    # a margin cannot shrink what has no inside
    assert grids.inside(indices, (5, 5, 1), margin=2.0).tolist() == expected

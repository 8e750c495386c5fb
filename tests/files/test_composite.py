"""Affines and fields, as other programs write and read them."""

import h5py
import numpy as np
import pytest
import torch

from tests import phantom
from unimo_bids.errors import InputError
from unimo_bids.files.composite import read_composite, write_composite
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.warp import Affine, Composed, Field

MATRIX = phantom.pose((40, -20, 70), (6.0, -4.0, 9.0)) @ torch.diag(phantom.f64([1.1, 0.9, 1, 1]))
# flipped and turned, as a template's voxels may be
GRID = Grid.of((7, 9, 8), phantom.grid_affine((-5.0, 4.0, 6.0), (0.3, -0.2, 0.5), (7, 9, 8)))


def test_nitransforms_puts_points_where_we_do(tmp_path):
    from nitransforms.io.itk import ITKCompositeH5
    from nitransforms.linear import Affine as TheirAffine
    from nitransforms.nonlinear import DenseFieldTransform

    displacement = torch.randn(3, *GRID.shape, generator=torch.Generator().manual_seed(0))
    field = Field(GRID, 4 * displacement)
    path = tmp_path / "xfm.h5"
    write_composite(path, MATRIX.numpy(), field)
    affine, bent = ITKCompositeH5.from_filename(path)
    points = GRID.points()  # between voxels nitransforms has splines
    ours = Composed(field, Affine(MATRIX))(points).numpy()
    theirs = DenseFieldTransform(bent, is_deltas=True).map(points.numpy())
    theirs = TheirAffine(affine.to_ras()).map(theirs)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_an_affine_alone_is_one_transform(tmp_path):
    from nitransforms.io.itk import ITKCompositeH5

    write_composite(tmp_path / "xfm.h5", MATRIX.numpy(), None)
    (affine,) = ITKCompositeH5.from_filename(tmp_path / "xfm.h5")
    np.testing.assert_allclose(affine.to_ras(), MATRIX.numpy(), atol=1e-9)


def test_what_was_written_is_read_again(tmp_path):
    """Also in the spelling of older ITK, about another centre, with more than one affine."""
    field = Field(GRID, 4 * torch.randn(3, *GRID.shape, generator=torch.Generator().manual_seed(0)))
    points = GRID.points() + 0.3
    path = tmp_path / "xfm.h5"
    write_composite(path, MATRIX.numpy(), field)
    expected = Composed(field, Affine(MATRIX))(points)
    np.testing.assert_allclose(read_composite(path)(points), expected, atol=1e-4)

    with h5py.File(path, "a") as file:
        affine = file["TransformGroup/1"]
        linear, shift = (
            affine["TransformParameters"][:9].reshape(3, 3),
            affine["TransformParameters"][9:],
        )
        center = np.array([5.0, -7.0, 2.0])
        affine["TransformFixedParameters"][:] = center
        affine["TransformParameters"][9:] = shift - center + linear @ center
        for word in ("Parameters", "FixedParameters"):
            affine.move(f"Transform{word}", f"Tranform{word}")
        file.copy("TransformGroup/1", "TransformGroup/3")  # comes first: ITK goes backwards
    twice = Composed(Affine(MATRIX), Composed(field, Affine(MATRIX)))(points)
    np.testing.assert_allclose(read_composite(path)(points), twice, atol=1e-4)


def test_what_is_no_composite_is_refused(tmp_path):
    path = tmp_path / "xfm.h5"
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="no composite"):
        read_composite(path)
    with h5py.File(path, "w") as file:
        group = file.create_group("TransformGroup/0")
        group["TransformType"] = [b"BSplineTransform_double_3_3"]
        group["TransformParameters"], group["TransformFixedParameters"] = np.zeros(5), np.zeros(2)
    with pytest.raises(InputError, match="BSpline"):
        read_composite(path)

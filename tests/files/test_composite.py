"""An affine after a field, as other programs read it."""

import numpy as np
import torch

from tests import phantom
from unimo_bids.files.composite import write_composite
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

from __future__ import annotations

import numpy as np
import pytest
import torch
from nitransforms.linear import LinearTransformsMapping

from unimo_bids.errors import InputError
from unimo_bids.files.transforms import read_itk, write_itk
from unimo_bids.spatial import rigid


@pytest.fixture
def poses():
    random = torch.Generator().manual_seed(1)
    shifts = 100 * torch.randn(5, 3, dtype=torch.float64, generator=random)
    return rigid.from_rotation(rigid.random_rotations(5, random), shifts).numpy()


def test_round_trip(tmp_path, poses):
    write_itk(tmp_path / "a_xfm.txt", poses)
    np.testing.assert_allclose(read_itk(tmp_path / "a_xfm.txt"), poses, atol=1e-12)


def test_nitransforms_reads_the_same(tmp_path, poses):
    write_itk(tmp_path / "a.txt", poses)
    theirs = LinearTransformsMapping.from_filename(tmp_path / "a.txt", fmt="itk")
    assert theirs.matrix.shape == (5, 4, 4)
    np.testing.assert_allclose(theirs.matrix, poses, atol=2e-4)  # it reads them as float32
    point = np.array([[10.0, -20.0, 30.0]])
    np.testing.assert_allclose(
        theirs[3].map(point)[0], poses[3, :3, :3] @ point[0] + poses[3, :3, 3], atol=2e-4
    )


def test_a_center_of_rotation_is_honoured(tmp_path):
    # by hand, in LPS: a quarter turn about z and the centre (1, 2, 3), then 4 along x
    (tmp_path / "a.txt").write_text(
        "#Insight Transform File V1.0\nTransform: AffineTransform_double_3_3\n"
        "Parameters: 0 -1 0 1 0 0 0 0 1 4 0 0\nFixedParameters: 1 2 3\n"
    )
    (pose,) = read_itk(tmp_path / "a.txt")
    # the centre goes to (5, 2, 3), what is 1 along x of it to (5, 3, 3)
    np.testing.assert_allclose(pose @ [-1, -2, 3, 1], [-5, -2, 3, 1])
    np.testing.assert_allclose(pose @ [-2, -2, 3, 1], [-5, -3, 3, 1])


def test_what_is_no_transform(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(InputError, match="not an ITK"):
        read_itk(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_text("#Insight Transform File V1.0\nParameters: 1 2\n")
    with pytest.raises(InputError, match="twelve"):
        read_itk(tmp_path / "b.txt")

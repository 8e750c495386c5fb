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


def test_form(tmp_path):
    write_itk(tmp_path / "a.txt", np.eye(4)[None].repeat(2, 0))
    assert (tmp_path / "a.txt").read_text().splitlines()[:7] == [
        "#Insight Transform File V1.0",
        "#Transform 0",
        "Transform: AffineTransform_double_3_3",
        "Parameters: 1.0 0.0 0.0 0.0 1.0 0.0 0.0 0.0 1.0 0.0 0.0 0.0",
        "FixedParameters: 0 0 0",
        "",
        "#Transform 1",
    ]


def test_nitransforms_reads_the_same(tmp_path, poses):
    write_itk(tmp_path / "a.txt", poses)
    theirs = LinearTransformsMapping.from_filename(tmp_path / "a.txt", fmt="itk")
    assert theirs.matrix.shape == (5, 4, 4)
    np.testing.assert_allclose(theirs.matrix, poses, atol=2e-4)  # it reads them as float32
    point = np.array([[10.0, -20.0, 30.0]])
    np.testing.assert_allclose(
        theirs[3].map(point)[0], poses[3, :3, :3] @ point[0] + poses[3, :3, 3], atol=2e-4
    )


def test_itk_agrees_on_a_point(tmp_path, poses):
    sitk = pytest.importorskip("SimpleITK")
    write_itk(tmp_path / "a.txt", poses[2:3])
    theirs = sitk.ReadTransform(str(tmp_path / "a.txt"))
    lps = np.array([-1, -1, 1])
    point = np.array([10.0, -20.0, 30.0])  # RAS
    found = lps * theirs.TransformPoint(tuple(lps * point))
    np.testing.assert_allclose(found, poses[2, :3, :3] @ point + poses[2, :3, 3], atol=1e-9)


def test_itk_resamples_the_volume_onto_the_reference(tmp_path):
    # the bright voxel is at RAS (0, 0, 0) in the reference, at (4, 0, 0) in the volume
    sitk = pytest.importorskip("SimpleITK")
    pose = np.eye(4)
    pose[0, 3] = 4
    write_itk(tmp_path / "a.txt", pose[None])
    volume = np.zeros((9, 9, 9), dtype=np.float32)
    image = sitk.GetImageFromArray(volume)
    image.SetOrigin((-8.0, -8.0, -8.0))
    image.SetSpacing((2.0, 2.0, 2.0))
    image[image.TransformPhysicalPointToIndex((-4.0, 0.0, 0.0))] = 1.0  # LPS of RAS (4, 0, 0)
    moved = sitk.Resample(image, image, sitk.ReadTransform(str(tmp_path / "a.txt")))
    assert moved[image.TransformPhysicalPointToIndex((0.0, 0.0, 0.0))] == pytest.approx(1)


def test_a_center_of_rotation_is_honoured(tmp_path, poses):
    sitk = pytest.importorskip("SimpleITK")
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(poses[0, :3, :3].ravel())
    affine.SetCenter((1.0, 2.0, 3.0))
    affine.SetTranslation((4.0, 5.0, 6.0))
    sitk.WriteTransform(affine, str(tmp_path / "a.txt"))
    lps = np.array([-1, -1, 1])
    point = np.array([10.0, -20.0, 30.0])
    (pose,) = read_itk(tmp_path / "a.txt")
    expected = lps * affine.TransformPoint(tuple(lps * point))
    np.testing.assert_allclose(pose[:3, :3] @ point + pose[:3, 3], expected, atol=1e-6)


def test_what_is_no_transform(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(InputError, match="not an ITK"):
        read_itk(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_text("#Insight Transform File V1.0\nParameters: 1 2\n")
    with pytest.raises(InputError, match="twelve"):
        read_itk(tmp_path / "b.txt")

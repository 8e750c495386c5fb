"""Every program's matrix convention, on hand-made files and on images with known motion."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from benchmarks.tools import TOOLS, Problem
from benchmarks.tools.conventions import (
    LPS,
    afni_poses,
    fsl_from_voxel,
    fsl_poses,
    itk_matrix,
    plain_affine,
    spm_poses,
    to_world,
)

SHAPE = (30, 32, 24)


def pose_of(degrees=(3.0, -2.0, 5.0), mm=(2.0, -1.0, 0.5)):
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(degrees, degrees=True).as_matrix()
    pose[:3, 3] = mm
    return pose


def test_afni_rows_map_base_to_input_in_lps(tmp_path):
    # the head goes 2 mm to the right and 3 mm up: in DICOM order -2 along L
    path = tmp_path / "poses.aff12.1D"
    path.write_text(
        "# 3dvolreg matrices (DICOM-to-DICOM, row-by-row):\n"
        " 1 0 0 0   0 1 0 0   0 0 1 0\n"
        " 1 0 0 -2  0 1 0 0   0 0 1 3\n"
        " 0 -1 0 0  1 0 0 0   0 0 1 0\n"
    )
    poses = afni_poses(path)
    assert poses.shape == (3, 4, 4)
    np.testing.assert_allclose(poses[0], np.eye(4))
    np.testing.assert_allclose(poses[1][:3, 3], [2, 0, 3])
    # a quarter turn about z is the same quarter turn when both x and y are reversed
    np.testing.assert_allclose(poses[2] @ [1, 0, 0, 1], [0, 1, 0, 1])


@pytest.mark.parametrize("sign", [1, -1])  # of the determinant: FSL flips x where it is positive
def test_fsl_matrices_take_volume_to_reference(tmp_path, sign):
    affine = np.diag([sign * 3.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = [-sign * 40, -50, -30]
    # The head went one voxel up the first index. FSL brings it back: along its x that is -3 mm
    # where x is as in the file, and +3 mm where it is counted from the other side.
    folder = tmp_path / "moved.mat"
    folder.mkdir()
    matrix = np.eye(4)
    np.savetxt(folder / "MAT_0000", matrix)
    matrix[0, 3] = sign * 3.0
    np.savetxt(folder / "MAT_0001", matrix)
    poses = fsl_poses(folder, SHAPE, affine)
    np.testing.assert_allclose(poses[0], np.eye(4), atol=1e-12)
    np.testing.assert_allclose(poses[1][:3, 3], affine[:3, 0], atol=1e-12)


def test_fsl_round_trip_with_rotation(tmp_path):
    affine = plain_affine(SHAPE, np.diag([3.0, 3.0, 4.0, 1.0]))
    fsl = fsl_from_voxel(SHAPE, affine)
    pose = pose_of()
    # volume → reference, in FSL's coordinates
    np.savetxt(
        tmp_path / "MAT_0000",
        fsl @ np.linalg.inv(affine) @ np.linalg.inv(pose) @ affine @ np.linalg.inv(fsl),
    )
    np.testing.assert_allclose(fsl_poses(tmp_path, SHAPE, affine)[0], pose, atol=1e-9)


def test_spm_headers_before_and_after(tmp_path):
    before = plain_affine(SHAPE, np.diag([3.0, 3.0, 4.0, 1.0]))
    pose = pose_of()
    # realigned: voxel → where it belongs in the reference
    after = np.linalg.inv(pose) @ before
    path = tmp_path / "poses.txt"
    rows = [np.r_[before.ravel(), before.ravel()], np.r_[before.ravel(), after.ravel()]]
    np.savetxt(path, rows)
    poses = spm_poses(path)
    np.testing.assert_allclose(poses[0], np.eye(4), atol=1e-12)
    np.testing.assert_allclose(poses[1], pose, atol=1e-9)


def test_itk_center_and_euler_angles():
    center = np.array([10.0, -20.0, 5.0])
    x, y, z = (
        Rotation.from_euler(axis, angle) for axis, angle in (("x", 0.02), ("y", 0.03), ("z", -0.05))
    )
    turn = (z * x * y).as_matrix()
    by_angles = itk_matrix([0.02, 0.03, -0.05, 1, 2, 3], center)
    by_matrix = itk_matrix([*turn.ravel(), 1, 2, 3], center)
    np.testing.assert_allclose(by_angles, by_matrix, atol=1e-12)
    np.testing.assert_allclose((by_matrix @ [*center, 1])[:3], [11, -18, 8])
    with pytest.raises(ValueError, match="7 parameters"):
        itk_matrix(range(7), center)


def test_plain_grid_poses_return_to_an_oblique_world():
    affine = pose_of((20, 10, -30), (5, 6, 7)) @ np.diag([-3.0, 3.0, 4.0, 1.0])
    plain = plain_affine(SHAPE, affine)
    pose = pose_of()
    seen = plain @ np.linalg.inv(affine) @ pose @ affine @ np.linalg.inv(plain)
    np.testing.assert_allclose(to_world(seen[None], affine, plain)[0], pose, atol=1e-9)
    # the plain grid is as rigid as the world: the turn keeps its angle
    assert np.trace(seen[:3, :3]) == pytest.approx(np.trace(pose[:3, :3]))
    np.testing.assert_allclose(LPS @ LPS, np.eye(4))


@pytest.fixture(scope="module")
def moved_blobs():
    """A smooth object, and the same moved by a pose, on an oblique, flipped grid of 4 mm."""
    rng = np.random.default_rng(0)
    affine = pose_of((20, 10, -30), (5, 6, 7)) @ np.diag([-4.0, 4.0, 4.0, 1.0])
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"))
    middle = (np.array(SHAPE) - 1) / 2
    far = (
        ((grid - middle[:, None, None, None]) / (np.array(SHAPE) / 3)[:, None, None, None]) ** 2
    ).sum(0)
    texture = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 2)
    image = ndimage.gaussian_filter((1 + 0.3 * texture / texture.std()) * (far < 1), 0.8) * 1000
    center = (affine @ [*middle, 1])[:3]
    turn = pose_of()
    pose = np.eye(4)
    pose[:3, :3] = turn[:3, :3]
    pose[:3, 3] = turn[:3, 3] + center - turn[:3, :3] @ center
    # a voxel at y of the moved image shows the object's point pose⁻¹ y
    back = np.linalg.inv(affine) @ np.linalg.inv(pose) @ affine
    moved = ndimage.affine_transform(image, back[:3, :3], back[:3, 3], order=3)
    data = np.stack([image, moved], axis=-1).clip(0).astype(np.float32)
    return data, affine, pose, (far < 1.2).astype(np.float32), center


@pytest.mark.parametrize(
    ("name", "tolerance_mm"), [("simpleitk", 0.5), ("antspyx", 1.0), ("dipy", 1.0)]
)
@pytest.mark.parametrize("masked", [False, True])
def test_adapter_leaves_reference_to_volume_in_the_world(
    moved_blobs, tmp_path, monkeypatch, *, name, tolerance_mm, masked
):
    monkeypatch.setenv("ANTS_RANDOM_SEED", "1")
    tool = TOOLS[name]
    if tool.version() is None:
        pytest.skip(f"{name} is not installed")
    data, affine, pose, mask, center = moved_blobs
    problem = Problem(
        data=data,
        affine=affine,
        reference=0,
        repetition_time=2.0,
        mask=mask if masked else None,
        frame_masks=None,
        folder=Path(tmp_path),
    )
    poses = to_world(tool.prepare(problem)().poses, affine, problem.plain)
    np.testing.assert_allclose(poses[0], np.eye(4), atol=1e-9)
    corners = center + 30 * np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, 0]])
    corners = np.c_[corners, np.ones(4)]
    error = np.linalg.norm((corners @ poses[1].T - corners @ pose.T)[:, :3], axis=1)
    # wrong conventions are several millimetres off; the tolerance is a quarter of a voxel
    assert error.mean() < tolerance_mm

import numpy as np
import pytest
import torch

from unimo_bids.simulation import Anatomy, centered_affine, kinematics, render
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import inside, world_points
from unimo_bids.spatial.interpolation import sample_cubic, spline_coefficients

SHAPE = (40, 44, 42)


def resampled(volume, affine, pose):
    """The volume sampled at pose @ x for every voxel x, and where that is inside it."""
    affine = torch.as_tensor(affine)
    points = rigid.transform(torch.as_tensor(pose), world_points(volume.shape, affine))
    indices = rigid.transform(torch.linalg.inv(affine), points)
    coefficients = spline_coefficients(torch.from_numpy(volume)[None, None].double())
    values = sample_cubic(coefficients, indices[None])[0, 0]
    known = inside(indices, volume.shape, margin=1)
    return values.reshape(volume.shape).numpy(), known.reshape(volume.shape).numpy()


@pytest.fixture(scope="module")
def blob() -> Anatomy:
    """A bright bar off the centre: 6 × 4 × 3 mm about (10, -6, 4) mm."""
    labels = np.zeros((61, 61, 61), dtype=np.uint8)
    labels[37:44, 22:27, 32:37] = 1
    return Anatomy(
        labels, centered_affine(labels.shape, 1.0), np.array([0, 1000], dtype=np.float32), (1,),
        None, "bar", 5.0,
    )  # fmt: skip


def center_of_mass(volume, affine):
    index = np.array([(volume * i).sum() for i in np.indices(volume.shape)]) / volume.sum()
    return affine[:3, :3] @ index + affine[:3, 3]


def test_a_moved_frame_sampled_through_its_pose_is_the_still_frame(head):
    affine = centered_affine(SHAPE, 2.0)
    still = render(head, np.eye(4), SHAPE, affine, psf_mm=4.0)
    pose = kinematics.poses_from(np.array([[8.0, -14.0, 21.0]]), np.array([[5.0, 3.3, -4.7]]))[0]
    moved = render(head, pose, SHAPE, affine, psf_mm=4.0)
    back, known = resampled(moved, affine, pose)
    # 4 mm of blur on 2 mm voxels leaves cubic interpolation an error well under 1 % of the brain's
    # 1000; the wrong direction of the pose would be off by hundreds
    assert np.sqrt(np.mean((back - still)[known] ** 2)) < 4
    wrong, known = resampled(moved, affine, np.linalg.inv(pose))
    assert np.sqrt(np.mean((wrong - still)[known] ** 2)) > 100


def test_the_object_appears_where_pose_and_affine_put_it(blob):
    turn = kinematics.poses_from(np.array([[0.0, 0.0, 30.0]]), np.zeros((1, 3)))[0]
    flipped = centered_affine((24, 26, 28), (-3.0, 2.5, 2.0))
    oblique = turn @ flipped
    pose = kinematics.poses_from(np.array([[20.0, 10.0, -35.0]]), np.array([[3.0, 4.0, -5.0]]))[0]
    expected = (pose @ [10, -6, 4, 1])[:3]
    for affine in (oblique, flipped, centered_affine((24, 26, 28), (3.0, 2.5, 2.0))):
        volume = render(blob, pose, (24, 26, 28), affine, psf_mm=4.0)
        np.testing.assert_allclose(center_of_mass(volume, affine), expected, atol=0.05)


def test_thick_slices_average_over_their_profile(blob):
    thin = centered_affine((30, 30, 32), (2.0, 2.0, 1.5))
    thick = centered_affine((30, 30, 8), (2.0, 2.0, 6.0))
    fine = render(blob, np.eye(4), (30, 30, 32), thin, psf_mm=2.0)
    coarse = render(blob, np.eye(4), (30, 30, 8), thick, psf_mm=2.0)
    # a slice is the mean of the four planes that it covers, sampled at the middle of each
    np.testing.assert_allclose(coarse, fine.reshape(30, 30, 8, 4).mean(axis=3), atol=0.05)

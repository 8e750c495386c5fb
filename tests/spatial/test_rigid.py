import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.spatial.cases import PLACES, POINTS, POSES, ROTATION_VECTORS, f64
from unimo_bids.spatial import rigid

# a few roundings of float64 at coordinates of some 500 mm: 500 × 2e-16 × about 10 operations
ROUNDING_MM = 1e-11


def assert_same(found, expected, atol=ROUNDING_MM):
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def assert_rigid(pose):
    rotation = pose[..., :3, :3]
    # the products of a few rotations, each entry of them rounded a dozen times
    assert_same(rotation @ rotation.mT, torch.eye(3).double().expand_as(rotation), 1e-14)
    assert_same(torch.linalg.det(rotation), torch.ones(pose.shape[:-2]).double(), 1e-14)
    assert torch.equal(pose[..., 3, :], f64([0.0, 0, 0, 1]).expand(pose.shape[:-1]))


@given(PLACES)
def test_six_zeros_are_exactly_the_identity(center):
    zero = torch.zeros(3, dtype=torch.float64)
    assert torch.equal(rigid.from_parameters(zero, zero, center), torch.eye(4).double())


@given(ROTATION_VECTORS, PLACES, PLACES)
def test_parameters_come_back(rotation_vector, translation, center):
    pose = rigid.from_parameters(rotation_vector, translation, center)
    assert_rigid(pose)
    rotation_back, translation_back = rigid.to_parameters(pose, center)
    assert_same(rotation_back, rotation_vector, 1e-14)
    assert_same(translation_back, translation)
    assert_same(rigid.transform(pose, center[None])[0], center + translation)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle", [0.0, 1e-30, 1e-12, 1e-7, 1e-4, 1.0, 3.0, 3.14159, math.pi])
def test_vectors_and_matrices_agree_at_any_angle(angle, kind):
    rounding = torch.finfo(kind).eps
    for axis in ([1.0, 0, 0], [0, 0, -1], [0.6, -0.8, 0], [2 / 3, -1 / 3, 2 / 3]):
        vector = angle * f64(axis)
        matrix = rigid.rotation_matrix(vector.to(kind))
        # the exponential of a matrix by its series and squarings, each in float64
        x, y, z = vector.tolist()
        expected = torch.linalg.matrix_exp(f64([[0, -z, y], [z, 0, -x], [-y, x, 0]]))
        assert_same(matrix.double(), expected, 8 * rounding)
        back = rigid.rotation_vector(matrix).double()
        if angle > 3.1415:  # an axis and its opposite are one half turn
            back = back * (back @ vector).sign()
        # the rounding of the matrix, a few times over
        assert_same(back, vector, 8 * rounding)


def test_gradients_at_no_turn_are_finite():
    vector = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    matrix = rigid.rotation_matrix(vector)
    (matrix[2, 1] - matrix[1, 2]).backward()
    assert vector.grad.tolist() == [2, 0, 0]
    still = torch.eye(3, dtype=torch.float64, requires_grad=True)
    rigid.rotation_vector(still)[0].backward()
    assert_same(still.grad, f64([[0, 0, 0], [0, 0, -0.5], [0, 0.5, 0]]))


@given(ROTATION_VECTORS)
def test_quaternions_turn_alike(vector):
    half = vector / 2
    sine = torch.sinc(torch.linalg.norm(half) / math.pi)
    quaternion = torch.cat([sine * half, torch.cos(torch.linalg.norm(half))[None]])
    assert_same(rigid.quaternion_matrix(quaternion), rigid.rotation_matrix(vector), 1e-14)


def test_the_nearest_rotation_to_a_mirror_image_is_no_mirror_image():
    matrix = f64([[[3, 0, 0], [0, 2, 0], [0, 0, -1]], [[-1, 0, 0], [0, -1, 0], [0, 0, 2]]])
    expected = f64([[1.0, 1, 1], [-1, -1, 1]]).diag_embed()
    assert_same(rigid.nearest_rotation(matrix), expected)


def test_a_quarter_turn_about_a_center_is_known():
    pose = rigid.from_parameters(f64([0, 0, math.pi / 2]), f64([0.0, 0, 5]), f64([10.0, 0, 0]))
    points = f64([[10.0, 0, 0], [11, 0, 0], [10, 1, 2]])
    expected = f64([[10.0, 0, 5], [10, 1, 5], [9, 0, 7]])
    assert_same(rigid.transform(pose, points), expected)


@given(POSES)
def test_inverse_undoes_and_stays_rigid(pose):
    back = rigid.inverse(pose)
    assert torch.equal(back[:3, :3], pose[:3, :3].mT)
    assert_same(rigid.transform(back, rigid.transform(pose, POINTS)), POINTS)
    assert_same(rigid.transform(pose, rigid.transform(back, POINTS)), POINTS)


@given(POSES, st.floats(-1e-3, 1e-3))
def test_orthonormalized_is_rigid_and_leaves_the_rigid_alone(pose, size):
    bent = pose.clone()
    bent[:3, :3] += size * torch.arange(9.0).reshape(3, 3)
    assert_rigid(rigid.orthonormalized(bent))
    assert_same(rigid.orthonormalized(pose), pose)
    # a uniform stretch has the rotation itself as its nearest
    stretched = pose.clone()
    stretched[:3, :3] *= 1 + size
    assert_same(rigid.orthonormalized(stretched), pose)


@pytest.mark.parametrize("degrees", [0.0, 1e-7, 1e-3, 1.0, 90.0, 179.0, 179.999999, 180.0])
def test_rotation_angle_from_nothing_to_a_half_turn(degrees):
    axis = f64([2.0, -1, 2]) / 3
    turn = rigid.from_parameters(math.radians(degrees) * axis, torch.zeros(3).double())
    start = rigid.from_parameters(f64([0.4, -1, 0.3]), POINTS[1])
    # 2e-16 of rounding a few tens of times over, in degrees
    assert float(rigid.rotation_angle(start, start @ turn)) == pytest.approx(degrees, abs=1e-11)


@given(POSES, ROTATION_VECTORS, PLACES, PLACES, st.floats(-0.5, 1.5))
def test_interpolation_turns_evenly_and_its_center_goes_straight(
    pose_a, rotation_vector, translation, center, fraction
):
    step = rigid.from_parameters(rotation_vector, translation, center)
    pose_b = pose_a @ step
    found = rigid.interpolate(pose_a, pose_b, f64(fraction), center)
    assert_rigid(found)
    relative = rigid.inverse(pose_a) @ found
    expected = rigid.from_parameters(fraction * rotation_vector, fraction * translation, center)
    assert_same(rigid.transform(relative, POINTS), rigid.transform(expected, POINTS), 1e-9)


def test_batches_equal_one_by_one():
    poses = rigid.from_rotation(
        rigid.random_rotations(6, torch.Generator().manual_seed(1)), torch.randn(6, 3).double()
    )
    a, b, fraction = poses[:3], poses[3:], f64([0.2, 0.5, 1.3])
    center = POINTS[1]
    at_once = rigid.interpolate(a, b, fraction, center)
    for k in range(3):
        assert_same(at_once[k], rigid.interpolate(a[k], b[k], fraction[k], center))
        assert_same(rigid.inverse(a)[k], rigid.inverse(a[k]))
        assert_same(rigid.transform(a, POINTS)[k], rigid.transform(a[k], POINTS))
        assert_same(rigid.rotation_angle(a, b)[k], rigid.rotation_angle(a[k], b[k]))
        assert_same(rigid.displacement(a, b, POINTS)[k], rigid.displacement(a[k], b[k], POINTS))


def test_random_rotations_are_uniform():
    n = 20_000
    rotations = rigid.random_rotations(n, torch.Generator().manual_seed(5))
    assert_rigid(rigid.from_rotation(rotations, torch.zeros(n, 3).double()))
    trace = rotations.diagonal(dim1=1, dim2=2).sum(dim=1)
    # Over Haar measure the trace (the character of l = 1) has moments 0, 1, 1, 3 and an entry of
    # R the variance 1/3; the mean of n draws is then known to its standard error, taken four times
    assert abs(float(trace.mean())) < 4 * math.sqrt(1 / n)
    assert abs(float(trace.square().mean()) - 1) < 4 * math.sqrt((3 - 1) / n)
    assert float(rotations.mean(dim=0).abs().max()) < 4 * math.sqrt(1 / 3 / n)
    # density of the angle (1 - cos θ) / π: its mean is π/2 + 2/π, its standard deviation 0.65
    angle = torch.arccos(((trace - 1) / 2).clamp(-1, 1))
    assert abs(float(angle.mean()) - (math.pi / 2 + 2 / math.pi)) < 4 * 0.65 / math.sqrt(n)

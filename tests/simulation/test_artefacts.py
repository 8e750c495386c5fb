import dataclasses

import numpy as np
import pytest
import torch

from unimo_bids.simulation import artefacts, centered_affine, kinematics, physiology, simulate
from unimo_bids.simulation.artefacts import Moment
from unimo_bids.spatial.grid import world_points

SHAPE = (24, 26, 20)
AFFINE = centered_affine(SHAPE, (4.0, 4.0, 5.0))


def moment(head, frame=0, poses=None, **changes):
    poses = kinematics.still(10) if poses is None else poses
    return dataclasses.replace(
        Moment(frame, poses, SHAPE, AFFINE, repetition_time=2.0, head=head), **changes
    )


def flat(value=1000.0):
    return np.full(SHAPE, value, dtype=np.float32)


def test_rician_noise_has_the_moments_of_rice(head):
    noise = artefacts.RicianNoise(sigma=50)
    empty = noise.scanner(flat(0), moment(head))
    bright = noise.scanner(flat(1000), moment(head, frame=1))
    # without signal: Rayleigh, mean σ√(π/2), variance (2 - π/2)σ²; standard errors are 0.5 %
    assert empty.mean() == pytest.approx(50 * np.sqrt(np.pi / 2), rel=0.02)
    assert empty.var() == pytest.approx((2 - np.pi / 2) * 50**2, rel=0.05)
    # far above the noise: mean √(A² + σ²), standard deviation σ
    assert bright.mean() == pytest.approx(np.hypot(1000, 50), abs=2)
    assert bright.std() == pytest.approx(50, rel=0.03)


def test_noise_is_new_in_every_frame_and_the_same_again(head):
    noise = artefacts.RicianNoise(10)
    first, again = (noise.scanner(flat(), moment(head, 3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    for other in (moment(head, 4), moment(head, 3).of_part(1), moment(head, 3, seed=(9,))):
        residual = noise.scanner(flat(), other)
        assert abs(np.corrcoef(first.ravel(), residual.ravel())[0, 1]) < 0.05


def test_bias_stays_in_the_scanner(head):
    bias = artefacts.ReceiveBias(0.3)
    turned = kinematics.uniform_range(10, 20, 40, seed=0)
    field = bias.scanner(flat(1), moment(head, 0))
    np.testing.assert_array_equal(field, bias.scanner(flat(1), moment(head, 7, poses=turned)))
    assert np.abs(field - 1).max() == pytest.approx(0.3, abs=1e-6)


def through_plane(mm):
    poses = kinematics.still(10)
    poses[5:, 2, 3] = mm
    return poses


def test_spin_history_acts_only_right_after_through_plane_motion(head):
    history = artefacts.SpinHistory(interleave=2, t1=1.4)
    poses = through_plane(5.0)  # one slice
    for quiet in (0, 1, 4, 6, 9):
        np.testing.assert_allclose(history.gain(moment(head, quiet, poses)), 1, atol=1e-6)
    gain = history.gain(moment(head, 5, poses))
    # tissue came from the slice below: an even slice's neighbour was excited half a TR later than
    # itself, so it waited TR/2 and is darker; an odd slice's waited 3/2 TR and is brighter
    steady = 1 - np.exp(-2 / 1.4)
    np.testing.assert_allclose(gain[:, :, 2], (1 - np.exp(-1.1 / 1.4)) / steady, rtol=0.001)
    np.testing.assert_allclose(gain[:, :, 3], (1 - np.exp(-3.0 / 1.4)) / steady, rtol=0.001)
    np.testing.assert_allclose(gain[:, :, 0], 1 / steady, rtol=1e-5)  # fresh from outside
    in_plane = kinematics.still(10)
    in_plane[5:, 0, 3] = 12
    np.testing.assert_allclose(history.gain(moment(head, 5, in_plane)), 1, atol=1e-6)


def test_slices_of_a_torn_frame_lie_between_its_neighbours(head):
    poses = kinematics.still(10)
    poses[:, 0, 3] = 10.0 * np.arange(10)
    torn = artefacts.TornVolume(frames=(5,))
    np.testing.assert_array_equal(torn.slice_poses(poses[4], moment(head, 4, poses)), poses[4])
    slices = torn.slice_poses(poses[5], moment(head, 5, poses))
    times = artefacts.acquisition_times(SHAPE[2], 2)
    np.testing.assert_allclose(slices[:, 0, 3], 50 + 10 * (times - 0.5), atol=1e-9)
    sudden = artefacts.TornVolume(frames=(5,), sudden=True)
    places = sudden.slice_poses(poses[5], moment(head, 5, poses))[:, 0, 3]
    assert set(places) == {40.0, 50.0}
    assert (places == 50).mean() >= 0.5
    assert times[places == 40].max() < times[places == 50].min()


def test_contrast_changes_in_the_frames_asked_for(head):
    change = artefacts.ContrastChange(frames=(1, 2))
    usual = head.intensities
    np.testing.assert_array_equal(change.contrast(usual, head, moment(head, 0)), usual)
    first, second = (change.contrast(usual, head, moment(head, t)) for t in (1, 2))
    assert first[0] == second[0] == 0
    assert np.abs(first - second).max() > 100
    assert abs(np.corrcoef(first[1:], usual[1:])[0, 1]) < 0.99
    same = artefacts.ContrastChange(amount=0).contrast(usual, head, moment(head, 1))
    np.testing.assert_allclose(same, usual)


@pytest.mark.parametrize(("attached", "axis"), [("head", 0), ("scanner", 1), ("head", 2)])
def test_distortion_keeps_the_signal(head, attached, axis):
    """What is misplaced is neither made nor lost: sums over a column are the same."""
    poses = kinematics.uniform_range(1, 3, 10, seed=1)
    grid = {"shape": (40, 44, 44), "voxel_sizes": 2.5, "psf_mm": 5.0}
    part = physiology.PhaseEncodeDistortion(4.0, axis=axis, attached=attached)
    plain = simulate(head, poses, **grid).data[..., 0]
    warped = simulate(head, poses, artefacts=[part], **grid).data[..., 0]
    assert np.abs(warped - plain).max() > 100
    mass, kept = plain.sum(axis=axis), warped.sum(axis=axis)
    # the Jacobian is a finite difference on 2.5 mm voxels: good to a few per mille of a column
    np.testing.assert_allclose(kept, mass, atol=0.01 * mass.max())


def test_distortion_displaces_by_its_field_along_its_axis(head):
    part = physiology.PhaseEncodeDistortion(3.0, axis=1, attached="scanner")
    points = world_points(SHAPE, torch.as_tensor(AFFINE)).float()
    seen, jacobian = part.distortion(points, moment(head))
    shift = (seen - points).numpy()
    np.testing.assert_array_equal(shift[:, [0, 2]], 0)
    assert 1.5 < np.abs(shift[:, 1]).max() < 6
    slope = np.gradient(shift[:, 1].reshape(SHAPE), 4.0, axis=1)
    np.testing.assert_allclose(jacobian.reshape(SHAPE).numpy(), 1 + slope, atol=1e-4)
    with pytest.raises(ValueError, match="head or scanner"):
        physiology.PhaseEncodeDistortion(attached="bed").distortion(points, moment(head))


def test_bold_fluctuates_as_strongly_as_asked(head):
    bold = physiology.BoldFluctuation(strength=0.02)
    rng = np.random.default_rng(0)
    points = torch.as_tensor(rng.uniform(-20, 20, (400, 3)), dtype=torch.float32)
    poses = kinematics.still(120)
    change = np.array([bold.modulation(points, moment(head, t, poses)).numpy() for t in range(120)])
    # eight maps share the variance, so a place may have half or one and a half times as much
    assert change.std(axis=0).mean() == pytest.approx(0.02, rel=0.25)
    slow = np.corrcoef(change[1:].ravel(), change[:-1].ravel())[0, 1]
    assert slow > 0.5  # slower than a repetition


def test_a_head_that_never_rests_is_where_its_way_is(head):
    way = np.tile(np.eye(4), (41, 1, 1))
    way[:, 0, 3] = np.arange(41) * 0.1  # 1 mm a frame
    never = artefacts.ContinuousMotion(way, per_frame=10)
    times = artefacts.acquisition_times(SHAPE[2])
    for t in range(3):
        found = never.slice_poses(way[10 * t + 5], moment(head, t))
        np.testing.assert_allclose(found[:, 0, 3], t + times, atol=1e-9)

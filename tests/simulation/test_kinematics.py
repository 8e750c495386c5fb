import numpy as np
import pytest
import torch

from unimo_bids.errors import InputError
from unimo_bids.simulation import kinematics
from unimo_bids.spatial import rigid


def parameters(poses):
    rotation, shift = rigid.to_parameters(torch.as_tensor(poses))
    return np.rad2deg(rotation.numpy()), shift.numpy()


def angles(poses):
    return np.linalg.norm(parameters(poses)[0], axis=1)


def steps(poses):
    turn = rigid.rotation_angle(torch.as_tensor(poses[1:]), torch.as_tensor(poses[:-1])).numpy()
    return turn, np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)


@pytest.mark.parametrize(
    "poses",
    [
        kinematics.smooth_with_spikes(50, 5, 5, 1),
        kinematics.uniform_range(50, 10, 5, 1),
        kinematics.haar(50, 30, 1),
        kinematics.synthetic_fetal(50, "severe", 1),
    ],
)
def test_poses_are_rigid(poses):
    assert poses.shape == (50, 4, 4)
    assert poses.dtype == np.float64
    rotation = poses[:, :3, :3]
    np.testing.assert_allclose(rotation @ rotation.swapaxes(1, 2), np.eye(3)[None] + 0 * rotation,
                               atol=1e-12)  # fmt: skip
    np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-12)
    np.testing.assert_array_equal(poses[:, 3], np.tile([0, 0, 0, 1], (50, 1)))


def test_smooth_with_spikes_stays_in_range_and_has_both():
    poses = kinematics.smooth_with_spikes(400, 5, 3, seed=2)
    rotation, shift = parameters(poses)
    assert np.abs(rotation).max() <= 3 + 1e-9
    assert np.abs(shift).max() <= 5 + 1e-9
    step = steps(poses)[1]
    assert np.median(step) < 0.3  # smooth most of the time
    assert step.max() > 2.5  # and now and then half the range at once


def test_haar_is_uniform_over_rotations():
    poses = kinematics.haar(40_000, 30, seed=0)
    # The angle θ of a uniform rotation has density (1 - cos θ)/π: mean π/2 + 2/π = 126.5°, and
    # a quarter-turn or less with probability 1/2 - 1/π
    assert angles(poses).mean() == pytest.approx(np.rad2deg(np.pi / 2 + 2 / np.pi), abs=0.6)
    assert (angles(poses) < 90).mean() == pytest.approx(0.5 - 1 / np.pi, abs=0.006)
    np.testing.assert_allclose(poses[:, :3, :3].mean(axis=0), 0, atol=0.01)
    assert np.abs(poses[:, :3, 3]).max() <= 30


def test_replay_turns_about_the_brain_and_starts_at_rest(tmp_path):
    rotvec = np.array([[0.3, 0, 0], [0.3, 0, 0], [0.8, 0, 0]], dtype=np.float32)
    shift = np.array([[0, 0, 0], [5, 6, 7], [5, 6, 10]], dtype=np.float32)
    path = tmp_path / "traces.npz"
    np.savez(path, a_rotvec_rad=rotvec, a_trans_mm=shift, a_dt_s=3.0)
    poses = kinematics.replay(path, "a", frames=2, start=1)
    np.testing.assert_allclose(poses[0], np.eye(4), atol=1e-7)
    rotation, moved = parameters(poses)
    np.testing.assert_allclose(rotation[1], [np.rad2deg(0.5), 0, 0], atol=1e-5)
    np.testing.assert_allclose(moved[1], [0, 0, 3], atol=1e-6)
    with pytest.raises(InputError, match="no trajectory 'b'; choose one of a"):
        kinematics.replay(path, "b")
    with pytest.raises(InputError, match="has 1 frames"):
        kinematics.replay(path, "a", frames=2, start=2)


@pytest.mark.parametrize(
    ("severity", "median_deg", "p95_deg"),
    # the range of medians and 95th percentiles of steps over the recorded trajectories
    [
        ("mild", (0.3, 1.6), (3, 8)),
        ("typical", (0.5, 2.7), (5, 14)),
        ("severe", (0.9, 4.6), (9, 30)),
    ],
)
def test_synthetic_fetal_moves_like_the_recordings(severity, median_deg, p95_deg):
    series = [kinematics.synthetic_fetal(250, severity, seed) for seed in range(3)]
    turn = np.concatenate([steps(poses)[0] for poses in series])
    assert median_deg[0] < np.median(turn) < median_deg[1]
    assert p95_deg[0] < np.percentile(turn, 95) < p95_deg[1]
    assert max(np.abs(poses[:, :3, 3]).max() for poses in series) < 60  # stays in the uterus


def test_a_way_within_frames_goes_through_their_poses():
    poses = kinematics.smooth_with_spikes(12, 5.0, 5.0, seed=2)
    way = kinematics.within_frames(poses, per_frame=10, jitter=0.2, seed=1)
    assert way.shape == (121, 4, 4)
    np.testing.assert_allclose(way[5::10], poses, atol=1e-9)
    smooth = kinematics.within_frames(poses, per_frame=10, jitter=0.0, seed=1)
    steps = np.linalg.norm(np.diff(smooth[5:-5, :3, 3], axis=0), axis=1)
    assert steps.max() < 3 * np.median(steps) + 1.0
    assert np.abs(way - smooth)[:, :3, 3].max() > 0.1

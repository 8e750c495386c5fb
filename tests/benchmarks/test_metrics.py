"""Errors of known poses, and what correction is worth."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from benchmarks.metrics import activation_map, correction_quality, pose_errors, summary
from benchmarks.series import BenchmarkSeries


def turned(degrees, center=(0, 0, 0)):
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec([0, 0, degrees], degrees=True).as_matrix()
    pose[:3, 3] = center - pose[:3, :3] @ np.asarray(center)
    return pose


def test_pure_translation_is_its_length_everywhere():
    true = np.tile(np.eye(4), (3, 1, 1))
    estimated = true.copy()
    estimated[1, :3, 3] = [3, 4, 0]
    errors = pose_errors(estimated, true, np.random.default_rng(0).normal(size=(50, 3)))
    np.testing.assert_allclose(errors.displacement_mm, [0, 5, 0], atol=1e-12)
    np.testing.assert_allclose(errors.translation_mm, [0, 5, 0], atol=1e-12)
    np.testing.assert_allclose(errors.rotation_deg, 0, atol=1e-6)


def test_turn_about_the_brain_leaves_its_center():
    center = np.array([10.0, 20.0, 30.0])
    ring = center + 40 * np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
    true = np.tile(turned(170, center), (2, 1, 1))
    # between 170° and 190° lie 20°, whatever Euler angles say
    estimated = np.stack([true[0], turned(-170, center)])
    errors = pose_errors(estimated, true, ring)
    assert errors.rotation_deg[1] == pytest.approx(20)
    assert errors.translation_mm[1] == pytest.approx(0, abs=1e-9)
    assert errors.displacement_mm[1] == pytest.approx(2 * 40 * np.sin(np.deg2rad(10)))
    assert errors.lost().tolist() == [False, True]


def test_missing_pose_is_lost_and_the_reference_does_not_count():
    true = np.tile(np.eye(4), (4, 1, 1))
    estimated = true.copy()
    estimated[3] = np.nan
    errors = pose_errors(estimated, true, np.zeros((1, 3))).without(0)
    found = summary(errors)
    assert found["lost_share"] == pytest.approx(1 / 3)
    assert found["displacement_mm_median"] == 0
    assert found["displacement_mm_p95"] == np.inf


@pytest.fixture
def series():
    """A ball that is shifted by whole voxels of 2 mm, with activation in one half."""
    shape, frames = (20, 20, 20), 12
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"))
    far = np.sqrt(((grid - 9.5) ** 2).sum(axis=0))
    brain = (far < 6).astype(np.float32)
    regressor = (np.arange(frames) % 4 >= 2).astype(np.float64)
    activation = (brain * (grid[0] > 10) * 0.05).astype(np.float32)
    image = brain * (1000 + 100 * np.sin(grid[1])).astype(np.float32)
    rng = np.random.default_rng(0)
    data, masks, poses = [], [], np.tile(np.eye(4), (frames, 1, 1))
    for t in range(frames):
        step = t % 3
        poses[t, 0, 3] = 2.0 * step
        frame = image * (1 + activation * regressor[t]) + rng.normal(0, 5, shape)
        data.append(np.roll(frame, step, axis=0))
        masks.append(np.roll(brain, step, axis=0) > 0.5)
    return BenchmarkSeries(
        data=np.stack(data, axis=-1).astype(np.float32),
        affine=np.diag([2.0, 2.0, 2.0, 1.0]),
        poses=poses,
        brain=brain,
        brain_points=2.0 * np.argwhere(brain > 0),
        masks=np.stack(masks, axis=-1).astype(np.uint8),
        reference=0,
        repetition_time=2.0,
        activation=activation,
        regressor=regressor,
    )


def test_true_poses_reach_the_ceiling_and_none_falls_short(series):
    best = correction_quality(series, series.poses)
    assert best["dice"] == best["dice_ceiling"] == pytest.approx(1)
    assert best["tsnr"] == best["tsnr_ceiling"] > 25
    assert best["activation_correlation"] > 0.9  # 50 of 1000 at a noise of 5
    none = correction_quality(series, np.tile(np.eye(4), (12, 1, 1)))
    assert none["dice"] < 0.95
    assert none["tsnr"] < none["tsnr_ceiling"]
    assert none["activation_correlation"] < none["activation_correlation_ceiling"]
    assert none["activation_agreement"] < best["activation_agreement"] == pytest.approx(1)
    assert none["tsnr_ceiling"] == best["tsnr"]


def test_activation_map_ignores_drift():
    regressor = np.tile([0.0, 0, 1, 1], 5)
    signal = 100 * (1 + 0.03 * regressor + 0.1 * np.linspace(-0.5, 0.5, 20))[:, None]
    assert activation_map(signal, regressor)[0] == pytest.approx(0.03, rel=1e-6)

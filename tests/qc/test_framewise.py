from __future__ import annotations

import numpy as np
import pytest
import torch

from unimo_bids.qc import (
    framewise_displacement,
    motion_parameters,
    parameter_covariance,
    rms_displacement,
)
from unimo_bids.qc.framewise import surprise
from unimo_bids.spatial import rigid

CENTER = np.array([10.0, -20.0, 30.0])


def poses_of(rotation, translation):
    parts = (torch.as_tensor(np.asarray(part, dtype=float)) for part in (rotation, translation))
    return rigid.from_parameters(*parts, torch.as_tensor(CENTER)).numpy()


def test_power_by_hand():
    poses = poses_of(
        [[0, 0, 0], [0.01, 0, 0], [0.01, -0.02, 0]], [[0, 0, 0], [1, -2, 3], [1, 0, 3]]
    )
    # |1| + |-2| + |3| + 50 · 0.01, then |2| + 50 · 0.02
    np.testing.assert_allclose(framewise_displacement(poses, CENTER), [np.nan, 6.5, 3.0])
    np.testing.assert_allclose(framewise_displacement(poses, CENTER, 35), [np.nan, 6.35, 2.7])


def test_parameters_are_about_the_center():
    poses = poses_of([[0, 0, 0.2]], [[1, 2, 3]])
    np.testing.assert_allclose(motion_parameters(poses, CENTER), [[0, 0, 0.2, 1, 2, 3]], atol=1e-12)


def test_no_jump_at_half_a_turn():
    angle = np.linspace(0, 3 * np.pi, 91)  # one and a half turns in steps of 6°
    axis = np.array([0.6, 0.0, 0.8])
    poses = poses_of(angle[:, None] * axis, np.zeros((91, 3)))
    found = motion_parameters(poses, CENTER)[:, :3]
    np.testing.assert_allclose(found, angle[:, None] * axis, atol=1e-6)
    step = framewise_displacement(poses, CENTER)[1:]
    np.testing.assert_allclose(step, 50 * np.diff(angle) * 1.4, rtol=1e-5)


def test_rms_is_the_mean_over_a_ball():
    random = np.random.default_rng(0)
    poses = poses_of(random.normal(0, 0.8, (4, 3)), random.normal(0, 5, (4, 3)))
    directions = random.normal(size=(200_000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    points = CENTER + 80 * directions * random.uniform(size=(200_000, 1)) ** (1 / 3)
    moved = points @ poses[:, :3, :3].transpose(0, 2, 1) + poses[:, None, :3, 3]
    sampled = np.sqrt((np.diff(moved, axis=0) ** 2).sum(-1).mean(1))
    # 200,000 points: a standard error of about one part in 1500
    np.testing.assert_allclose(rms_displacement(poses, CENTER)[1:], sampled, rtol=4e-3)


@pytest.mark.parametrize("measure", [framewise_displacement, rms_displacement])
def test_stillness(measure):
    np.testing.assert_array_equal(measure(np.tile(np.eye(4), (3, 1, 1)), CENTER), [np.nan, 0, 0])
    assert np.isnan(measure(np.eye(4)[None], CENTER)).all()


def test_parameter_covariance_is_that_of_the_columns():
    """Small motions of the reference before a large turn, drawn and pushed through the columns."""
    center = np.array([5.0, -8.0, 12.0])
    pose = rigid.from_parameters(
        torch.tensor([0.9, -1.1, 0.6], dtype=torch.float64),
        torch.tensor([4.0, 20.0, -7.0], dtype=torch.float64),
        torch.as_tensor(center),
    )
    rng = np.random.default_rng(3)
    mixing = rng.normal(size=(6, 6)) * np.repeat([1e-5, 1e-3], 3)[:, None]
    drawn = torch.as_tensor(rng.normal(size=(20_000, 6)) @ mixing.T)
    moved = pose @ rigid.from_parameters(
        drawn[:, :3], drawn[:, 3:], torch.as_tensor(center).expand(len(drawn), 3)
    )
    seen = np.cov(motion_parameters(moved.numpy(), center).T)
    told = parameter_covariance(pose.numpy()[None], (mixing @ mixing.T)[None])[0]
    scale = np.sqrt(np.outer(np.diag(told), np.diag(told)))
    # 20,000 draws know a correlation to 1 %; the wrong axes would be off by its full size
    assert np.abs((seen - told) / scale).max() < 0.04


def test_surprise_is_one_where_deviations_are_right():
    random = np.random.default_rng(0)
    many, deviation = 4000, np.array([0.01, 0.02, 0.03, 0.5, 1.0, 2.0])
    predicted = poses_of(random.normal(0, 0.8, (many, 3)), random.normal(0, 5, (many, 3)))
    step = random.normal(size=(many, 6)) * deviation
    found = predicted @ poses_of(step[:, :3], step[:, 3:])
    covariance = np.tile(np.diag(deviation**2), (many, 1, 1))
    covariance[7] = 0  # of the reference
    told = surprise(found, predicted, covariance, CENTER)
    assert np.flatnonzero(np.isnan(told)).tolist() == [7]
    np.testing.assert_allclose(np.nanmean(told**2), 1, atol=0.05)
    assert 0.94 < np.nanmean(told < 1.45) < 0.96

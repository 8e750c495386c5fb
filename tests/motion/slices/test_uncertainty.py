"""Whether intervals of slices' poses hold what is drawn beside the code that tells them."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import torch

from unimo_bids.motion.slices.points import Points
from unimo_bids.motion.slices.solving import SliceEquations
from unimo_bids.motion.slices.trajectory import Trajectory
from unimo_bids.motion.slices.uncertainty import between_knots, noise_scale, of_frames

DRAWS, MANY = 300, 1500


def test_what_neighbours_share_is_in_the_intervals_of_a_frame():
    """Residuals are alike over half a radius, as distortion is: counted points know nothing."""
    rng = np.random.default_rng(0)
    arms = rng.normal(size=(3, MANY))
    arms *= rng.uniform(size=MANY) ** (1 / 3) / np.linalg.norm(arms, axis=0)
    slopes = rng.normal(size=(3, MANY))
    jacobian = np.concatenate([np.cross(arms, slopes, axis=0), slopes])
    # displacements of random waves along y, as a field shifts places, and noise of voxels
    waves = 2.0 * rng.normal(size=(DRAWS, 12, 3))
    phases = rng.uniform(0, 2 * np.pi, size=(DRAWS, 12, 1))
    field = np.cos(waves @ arms + phases).mean(axis=1)
    residual = slopes[1] * field + 0.1 * rng.normal(size=(DRAWS, MANY))
    found = residual @ np.linalg.pinv(jacobian)
    points = SimpleNamespace(frames=torch.arange(DRAWS), row=torch.arange(DRAWS))
    told = of_frames(
        cast(Points, points),
        torch.from_numpy(arms).float().repeat(1, DRAWS),
        torch.from_numpy(jacobian).float().expand(DRAWS, 6, MANY),
        torch.ones(DRAWS, MANY),
        torch.from_numpy(residual).float(),
    )
    deviations = told.diagonal(dim1=1, dim2=2).sqrt().numpy()
    held = (np.abs(found) <= 1.96 * deviations).mean()
    counted = np.sqrt(np.diagonal(np.linalg.inv(jacobian @ jacobian.T)))
    spread = residual.std(axis=1)[:, None]
    assert (np.abs(found) <= 1.96 * counted * spread).mean() < 0.7
    assert 0.85 < held < 0.98


def test_between_knots_a_head_that_walks_at_random_is_as_far_off_as_said():
    rng = np.random.default_rng(1)
    fine, knots = 20, 400
    way = np.cumsum(0.1 * rng.normal(size=(knots * fine + 1, 3)), axis=0)

    poses = torch.eye(4, dtype=torch.float64).repeat(knots + 1, 1, 1)
    poses[:, :3, 3] = torch.from_numpy(way[::fine])
    at_knots = torch.arange(knots + 1, dtype=torch.float64)
    trajectory = Trajectory(at_knots, poses, torch.zeros(3, dtype=torch.float64))
    for share in (0.25, 0.5):
        asked = torch.arange(knots, dtype=torch.float64) + share
        straight = trajectory.at(asked)[:, :3, 3].numpy()
        error = way[(asked * fine).round().long().numpy()] - straight
        told = between_knots(trajectory, asked, 40.0).diagonal(dim1=1, dim2=2)
        ratio = np.square(error).mean() / float(told[:, 3:].mean())
        assert 0.8 < ratio < 1.25
        assert float(told[:, :3].abs().max()) < 1e-12  # it does not turn
    assert float(between_knots(trajectory, at_knots, 40.0).abs().max()) < 1e-12
    two = Trajectory(at_knots[:2], poses[:2], torch.zeros(3, dtype=torch.float64))
    assert between_knots(two, torch.full((2, 3), 0.5).double(), 40.0).shape == (2, 3, 6, 6)


def test_noise_is_found_from_gradients():
    rng = torch.Generator().manual_seed(2)
    root = torch.randn(8, 30, 6, 6, generator=rng, dtype=torch.float64)
    hessian = root @ root.mT + torch.eye(6)
    drawn = torch.randn(8, 30, 6, 1, generator=rng, dtype=torch.float64)
    rhs = (torch.linalg.cholesky(hessian) @ drawn)[..., 0]
    good = torch.ones(8, dtype=torch.bool)
    good[3] = False
    rhs[3] *= 100.0  # a torn frame has no say
    hessian[5, :10] = 0.0  # slices beside the head
    rhs[5, :10] = 0.0
    for variance in (0.2, 3.0):
        own = SliceEquations(hessian, variance**0.5 * rhs, torch.zeros(8, 30))
        told = noise_scale(own, torch.zeros_like(hessian), good)
        assert abs(told / variance - 1) < 0.15
    # slices that a trajectory was fitted to by half have half of that left
    half = torch.linalg.pinv(hessian) / 2
    own = SliceEquations(hessian, 0.5**0.5 * rhs, torch.zeros(8, 30))
    assert abs(noise_scale(own, half, good) - 1) < 0.15

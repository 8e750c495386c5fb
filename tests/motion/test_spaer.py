"""Tracking through time with the shipped weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.phantom import error_mm, f64
from unimo_bids.motion.quality import bridge
from unimo_bids.motion.spaer import predict
from unimo_bids.spatial import rigid

CENTER, RADIUS = f64([3.0, -5.0, 8.0]), 40.0
EXACT = torch.diag(f64([1e-7] * 3 + [1e-4] * 3))


def curve(many: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A head that accelerates as it likes, slowly; and uneven times, s."""
    rng = np.random.default_rng([seed, 7])
    times = np.cumsum(rng.uniform(1.5, 3, many))
    phases, rates = rng.uniform(0, 6, (2, 6, 1)), rng.uniform(0.15, 0.35, (2, 6, 1))
    six = np.sin(rates[0] * times + phases[0]) + 0.5 * np.sin(rates[1] * times + phases[1])
    turn, shift = torch.as_tensor(0.1 * six[:3].T), torch.as_tensor(4 * six[3:].T)
    return rigid.from_parameters(turn, shift, CENTER.expand(many, 3)), torch.as_tensor(times)


def without(many: int, lost: list[int]) -> np.ndarray:
    good = np.ones(many, dtype=bool)
    good[lost] = False
    return good


def test_a_head_that_keeps_its_velocity_is_predicted():
    times = 2.0 * torch.arange(30).double()
    steps = times[:, None]
    poses = rigid.from_parameters(
        steps * f64([0.004, -0.002, 0.003]), steps * f64([0.2, 0.1, -0.2]), CENTER.expand(30, 3)
    )
    lost = [12, 13, 14, 29]
    found = predict(poses, EXACT.repeat(30, 1, 1), without(30, lost), times, CENTER, RADIUS)
    off = error_mm(found.poses, poses).flatten()
    assert float(off[lost[:3]].max()) < 0.3
    # heads seldom keep their velocity: the next pose is known by a few mm at best, and so told
    assert float(off[29]) < 1.5
    assert float(found.covariance[29, 5, 5].sqrt()) > 0.3


def test_gaps_of_smooth_curves_are_bridged_better_than_by_even_motion():
    """By a little: recorded heads wander, and it has learned from these not to trust a curve."""
    ours, evenly = [], []
    for seed in range(6):
        poses, times = curve(60, seed)
        lost = [9, 10, 11, 22, 23, 38, 39, 40, 41, 52]
        good, covariance = without(60, lost), EXACT.repeat(60, 1, 1)
        nothing = np.full(60, np.nan)
        score = np.where(good, 0.99, nothing)
        way = predict(poses, covariance, good, times, CENTER, RADIUS)
        for found, predicted in ((ours, way), (evenly, None)):
            bridged, *_ = bridge(poses, covariance, good, score, CENTER, RADIUS, predicted)
            found.append(error_mm(bridged, poses)[lost].mean())
    assert float(torch.stack(ours).mean()) < 0.95 * float(torch.stack(evenly).mean())


def test_deviations_are_larger_in_gaps_and_about_right():
    surprise = []
    for seed in range(10):
        poses, times = curve(40, seed)
        lost = [10, 20, 21, 22, 23]
        found = predict(poses, EXACT.repeat(40, 1, 1), without(40, lost), times, CENTER, RADIUS)
        deviation = found.covariance.diagonal(dim1=1, dim2=2).sqrt()
        assert bool((deviation[lost] > 3 * deviation[30]).all())
        turn, shift = rigid.to_parameters(rigid.inverse(poses) @ found.poses, CENTER)
        surprise.append((torch.cat([turn, shift], dim=1) / deviation)[lost])
    within = float((torch.cat(surprise).abs() < 1.96).double().mean())
    assert within > 0.85  # a smooth curve is easier than what it was calibrated on


@pytest.mark.parametrize("seed", [0, 1])
def test_the_world_may_be_turned_and_shifted(seed):
    poses, times = curve(40, seed)
    good = without(40, [7, 20, 21])
    covariance = EXACT.repeat(40, 1, 1)
    world = rigid.from_parameters(f64([1.0, -0.7, 2.0]), f64([50.0, 20.0, -90.0]))
    before = predict(poses, covariance, good, times, CENTER, RADIUS)
    after = predict(
        world @ poses @ rigid.inverse(world),
        covariance,
        good,
        times,
        rigid.transform(world, CENTER[None])[0],
        RADIUS,
    )
    expected = world @ before.poses @ rigid.inverse(world)
    points = rigid.transform(world, CENTER + 30 * torch.eye(3).double())
    assert float(rigid.displacement(after.poses, expected, points).max()) < 1e-3

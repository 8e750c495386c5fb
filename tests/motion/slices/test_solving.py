"""The banded solution against a dense one; what slices cost."""

import pytest
import torch

from tests.phantom import f64, random_poses
from unimo_bids.motion.slices.intensity import SliceIntensity
from unimo_bids.motion.slices.points import Points
from unimo_bids.motion.slices.solving import (
    AnchorPrior,
    BendPrior,
    SliceEquations,
    State,
    assembled,
    knot_covariance,
    solved,
)
from unimo_bids.motion.slices.trajectory import Trajectory

KNOTS = 7


def test_the_step_solves_the_equations_of_all_knots_and_bends():
    times = f64([0.0, 1.0, 2.0, 2.25, 2.5, 3.0, 4.0])
    way = Trajectory(times, random_poses(KNOTS, 3.0, 2.0, seed=1), f64([0.0, 0.0, 0.0]))
    start = Trajectory(times, random_poses(KNOTS, 3.0, 2.0, seed=2), way.center)
    prior = BendPrior(way, radius=40.0, scale=0.7)
    anchor = AnchorPrior(way, start, torch.linspace(0.5, 3.0, KNOTS).double(), radius=40.0)
    state = State(KNOTS, frames=2, slices=30)
    random = torch.Generator().manual_seed(4)
    full = torch.zeros(KNOTS, 6, KNOTS, 6, dtype=torch.float64)
    rhs = torch.zeros(KNOTS, 6, dtype=torch.float64)
    for before in range(KNOTS - 1):
        rows = torch.randn(30, 12, 6, generator=random, dtype=torch.float64)
        hessian, slope = rows.mT @ rows, torch.randn(30, 6, generator=random).double()
        a = torch.rand(30, generator=random, dtype=torch.float64)
        equations = SliceEquations(hessian, slope, torch.zeros(30))
        state.add(torch.full((30,), before), a, equations)
        for k, wk in ((before, 1 - a), (before + 1, a)):
            rhs[k] += (wk[:, None] * slope).sum(dim=0)
            for m, wm in ((before, 1 - a), (before + 1, a)):
                full[k, :, m] += ((wk * wm)[:, None, None] * hessian).sum(dim=0)
    for b, (bend, shares, weight) in enumerate(
        zip(prior.bends, prior.shares, prior.weights, strict=True)
    ):
        for k in range(3):
            rhs[b + k] -= weight * shares[k] * bend
            for m in range(3):
                full[b + k, :, b + m] += weight * shares[k] * shares[m] * torch.eye(6)
    for k in range(KNOTS):
        rhs[k] -= anchor.weights[k] * anchor.away[k]
        full[k, :, k] += anchor.weights[k] * torch.eye(6)
    expected = torch.linalg.solve(full.reshape(6 * KNOTS, -1), rhs.reshape(-1))
    found = solved(state, prior, anchor, damping=0.0).reshape(-1)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)

    inverse = torch.linalg.inv(full.reshape(6 * KNOTS, -1)).reshape(KNOTS, 6, KNOTS, 6)
    for many in (KNOTS, KNOTS - 1):  # with and without a pair for the last
        blocks, _ = assembled(state, prior, anchor)
        if many < KNOTS:
            blocks = [one[:many] for one in blocks]
            part = full[:many, :, :many].reshape(6 * many, -1)
            inverse = torch.linalg.inv(part).reshape(many, 6, many, 6)
        own, beside = knot_covariance(blocks)
        for k in range(many):
            torch.testing.assert_close(own[k], inverse[k, :, k], rtol=1e-6, atol=1e-9)
        for k in range(many - 1):
            torch.testing.assert_close(beside[k], inverse[k, :, k + 1], rtol=1e-6, atol=1e-9)


def test_the_prior_s_weights_are_the_slope_of_its_cost():
    way = Trajectory(torch.arange(5.0).double(), random_poses(5, 2.0, 1.0), f64([0.0, 0.0, 0.0]))
    prior = BendPrior(way, radius=40.0, scale=0.5)
    d = prior.bends.clone().requires_grad_()
    cost = 3 * torch.log1p(d.square().sum(dim=1) / (6 * 0.5**2)).sum()
    (slope,) = torch.autograd.grad(cost, d)
    assert cost.item() == pytest.approx(prior.cost)
    torch.testing.assert_close(slope, prior.weights[:, None] * prior.bends)


def cost_of(weights: list[float]) -> float:
    """Of a slice that is just as the template has it, when its points weigh so much."""
    values = torch.tensor([[1.0, 2.0, 4.0, 3.0, 5.0, 2.0]])
    one = torch.zeros(1, dtype=torch.long)
    place = torch.randn(1, 3, 6, generator=torch.Generator().manual_seed(0))
    chosen = torch.tensor([[0.4, 1.0, 1.0, 1.0, 1.0, 0.6]])
    seen = torch.ones_like(values)
    points = Points(one, one, one, place, torch.zeros(1, 3).double(), values, seen, chosen)
    of = SliceIntensity(points, values, torch.tensor([weights]), torch.ones(3))
    return float(of.equations(torch.zeros(6, 6), torch.ones(1), torch.ones(1).bool()).cost[0])


def test_only_leaving_the_head_costs_not_moving_in_it():
    assert cost_of([0.4, 1.0, 1.0, 1.0, 1.0, 0.6]) == pytest.approx(0, abs=1e-6)
    assert cost_of([0.6, 1.0, 1.0, 1.0, 1.0, 0.4]) == pytest.approx(0, abs=1e-6)
    assert cost_of([0.2, 1.0, 1.0, 1.0, 1.0, 0.4]) > 0.01

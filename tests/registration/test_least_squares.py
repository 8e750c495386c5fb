from __future__ import annotations

import pytest
import torch

from unimo_bids.registration.least_squares import robust_scale, solve


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("columns", [(), (3,)])
def test_solve(columns):
    factor = random(4, 6, 20)
    gram = factor @ factor.mT
    truth = random(4, 6, *columns, seed=1)
    rhs = gram @ truth if columns else (gram @ truth[..., None])[..., 0]
    # the ridge is 1e-7 of the diagonal
    torch.testing.assert_close(solve(gram, rhs), truth, rtol=1e-5, atol=1e-5)


def test_solve_is_finite_for_singular_systems():
    twice = torch.ones(1, 2, 2, dtype=torch.float64)  # two terms that are the same
    found = solve(twice, torch.ones(1, 2, dtype=torch.float64))
    assert float(found.sum()) == pytest.approx(1, abs=1e-5)
    assert torch.isfinite(solve(torch.zeros(1, 2, 2), torch.zeros(1, 2))).all()


def test_robust_scale_is_the_standard_deviation_of_what_is_in_view():
    residual = 3 * random(2, 20_000).float()
    residual[:, ::5] = 1000.0  # a fifth of the points says something else, and is not in view
    view = torch.ones_like(residual)
    view[:, ::5] = 0
    # of 3277 points: 2 % of standard error
    torch.testing.assert_close(
        robust_scale(residual, view), torch.full((2,), 3.0), rtol=0.06, atol=0
    )
    assert robust_scale(residual, 0 * view).tolist() == [1, 1]
    assert (robust_scale(0 * residual, view) > 0).all()

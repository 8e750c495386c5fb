"""Covariance from blocks, against the spread of estimates under noise whose truth is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests import phantom
from unimo_bids.registration.gauss_newton import register
from unimo_bids.registration.target import EDGE, cubes
from unimo_bids.registration.uncertainty import block_covariance, jackknife, widened
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import world_points

POINTS, RADIUS, DRAWS = 6000, 35.0, 300
WITHIN = 1.96  # standard deviations, of 95 in 100 errors


def _ball(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(POINTS, 3, generator=generator)
    radii = torch.rand(POINTS, 1, generator=generator) ** (1 / 3)
    return RADIUS * radii * points / points.norm(dim=1, keepdim=True)


def _waves(points: Tensor, rows: int, length: float, seed: int) -> Tensor:
    """Random smooth fields of unit variance at points, ``(rows, N)``, of about this length, mm."""
    generator = torch.Generator().manual_seed(seed)
    waves = 60
    k = torch.randn(rows, waves, 3, generator=generator) / length
    phase = 2 * torch.pi * torch.rand(rows, waves, 1, generator=generator)
    return torch.cos(k @ points.mT + phase).sum(dim=1) * (2 / waves) ** 0.5


def _fits(length: float) -> tuple[Tensor, Tensor, Tensor]:
    """Errors ``(draws, 6)`` of least squares, their covariances by cubes, and by points."""
    points = _ball()
    jacobian = _waves(points, 6, 6.0, seed=1).mT
    cube_of = cubes(points, EDGE * RADIUS)
    noise = _waves(points, DRAWS, length, seed=2) if length else torch.randn(DRAWS, POINTS)
    hessian = jacobian.mT @ jacobian
    found = noise @ jacobian @ torch.linalg.inv(hessian)  # the truth is 0
    residual = noise - found @ jacobian.mT
    outer = (jacobian[:, :, None] * jacobian[:, None]).flatten(1)
    hessians = (cube_of.mT @ outer).reshape(1, -1, 6, 6).expand(DRAWS, -1, -1, -1)
    scores = torch.einsum("bn,na,ng->bga", residual, jacobian, cube_of)
    by_points = torch.linalg.inv(hessian) * residual.square().mean()
    return found, jackknife(hessians.double(), scores.double()), by_points


@pytest.mark.parametrize("length", [0.0, 4.0, 8.0])
def test_blocks_tell_the_spread_of_estimates(length):
    torch.manual_seed(0)
    found, covariance, by_points = _fits(length)
    true = found.std(dim=0)
    told = covariance.mean(dim=0).diagonal().sqrt()
    # cubes are 17 mm wide: what neighbouring ones share is missed, and made good by `widened` (1.8)
    assert bool(((told > 0.55 * true) & (told < 1.25 * true)).all()), told / true
    if length:
        ratios = by_points.diagonal().sqrt() / true
        assert bool((ratios < 0.35).all()), ratios


def test_intervals_hold_what_they_should():
    found, covariance, _ = _fits(8.0)
    deviations = widened(covariance, voxel=0.0).diagonal(dim1=1, dim2=2).sqrt()
    held = (found.abs() < WITHIN * deviations).float().mean()
    assert 0.94 < float(held) <= 1


def test_a_batch_is_each_by_itself():
    generator = torch.Generator().manual_seed(0)
    roots = torch.randn(3, 20, 6, 8, generator=generator, dtype=torch.float64)
    scores = torch.randn(3, 20, 6, generator=generator, dtype=torch.float64)
    together = jackknife(roots @ roots.mT, scores)
    for row in range(3):
        hessians, score = (roots @ roots.mT)[row], scores[row]
        steps = torch.stack(
            [
                torch.linalg.solve(hessians.sum(0) - hessians[b], score.sum(0) - score[b])
                for b in range(20)
            ]
        )
        by_definition = 19 * torch.cov(steps.mT, correction=0)
        torch.testing.assert_close(together[row], by_definition, rtol=1e-5, atol=1e-9)


def test_every_point_is_in_one_cube_and_every_cube_has_one():
    points = _ball()
    cube_of = cubes(points, EDGE * RADIUS)
    assert bool((cube_of.sum(dim=1) == 1).all()) and bool((cube_of.sum(dim=0) > 0).all())
    for cube in cube_of.mT[:10]:
        within = points[cube > 0]
        assert float((within.amax(dim=0) - within.amin(dim=0)).max()) <= EDGE * RADIUS


def test_interpolation_is_the_floor():
    nothing = widened(torch.zeros(1, 6, 6, dtype=torch.float64), voxel=3.0)
    torch.testing.assert_close(
        nothing[0].diagonal().sqrt(), torch.full((6,), 0.012, dtype=torch.float64)
    )


def test_what_is_shared_by_neighbours_is_seen_in_a_registration():
    """Smooth stains, as of another contrast: points alone do not see them."""
    level, still = phantom.fine_level(), phantom.volume(phantom.rest(1)[0])
    target = phantom.target_of(level, still[None], phantom.head_mask(grown=1.1))
    true = phantom.pose((2, -1, 2), (1, 1.5, -0.5))
    points = world_points(phantom.SHAPE, phantom.AFFINE).float()
    many = 24
    stains = 6 * _waves(points, many, 6.0, seed=3).reshape(many, *phantom.SHAPE)
    frames = phantom.frames_at(level, phantom.volume(true) + stains)
    found = register(target, frames, true.repeat(many, 1, 1))
    held = {}
    for way, covariance in {
        "points": found.covariance,
        "cubes": block_covariance(target, frames, found.poses),
    }.items():
        back = torch.linalg.inv(found.poses) @ true
        off = torch.cat(rigid.to_parameters(back), dim=1)
        deviations = covariance.diagonal(dim1=1, dim2=2).sqrt()
        held[way] = float((off.abs() < WITHIN * deviations).double().mean())
    assert held["points"] < 0.8
    assert held["cubes"] > 0.9

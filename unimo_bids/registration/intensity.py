"""A frame's intensities at the target's points, and what the target's images make of them."""

from __future__ import annotations

from torch import Tensor

from unimo_bids.registration.least_squares import solve, symmetric
from unimo_bids.registration.levels import Level
from unimo_bids.registration.target import Channel, Target
from unimo_bids.spatial import rigid
from unimo_bids.spatial.interpolation import sample_linear

# Cauchy weights with 95 % efficiency on Gaussian residuals (Holland & Welsch 1977)
CAUCHY = 2.385
# of what a place shows at a level, at least this part has to come from valid voxels
LEAST_VALID = 0.9


def read_points(
    target: Target, level: Level, sampled: Tensor, poses: Tensor, valid: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Weights ``(B, N)`` of the points in view, and the frames' values there, ``(B, C, N)``."""
    to_index = level.grid.to_index.to(poses) @ poses
    origin = rigid.transform(to_index, target.center.to(poses)[None])  # float64: keeps 1e-5 voxel
    # each coordinate in one piece, as sampling likes it
    indices = (to_index[:, :3, :3].float() @ target.points.mT + origin.float().mT).mT
    view = level.validity(indices) * target.weights
    if valid is not None:
        there = sample_linear(valid[:, None], indices)[:, 0]
        view = view * ((there - LEAST_VALID) / (1 - LEAST_VALID)).clamp(0, 1)
    return view, level.sample(sampled, indices)


def modelled(channel: Channel, view: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients ``(B, K)`` of the terms in frames ``(B, N)``, and what is left, ``(B, N)``."""
    gram = symmetric(view @ channel.term_products.mT, len(channel.terms))
    coefficients = solve(gram, ((view * m) @ channel.terms.mT).double()).float()
    return coefficients, m - coefficients @ channel.terms


def backdrop_squares(channel: Channel, view: Tensor, m: Tensor) -> Tensor:
    """What is left of frames ``(B, N)`` without the head's structure, sum of squares ``(B,)``.

    The yardstick of similarity: a smooth field can bend a flat head to any smooth place, so what a
    smooth field explains alone must not count.
    """
    backdrop = channel.backdrop
    gram = symmetric(view @ channel.backdrop_products.mT, len(backdrop))
    fit = solve(gram, ((view * m) @ backdrop.mT).double()).float() @ backdrop
    return (view * (m - fit) ** 2).sum(dim=-1)


def gains(channel: Channel, coefficients: Tensor) -> list[Tensor]:
    """How each of the target's images enters the modelled frames at every point, ``(B, N)``."""
    return [
        coefficients[:, mine] @ channel.slopes[mine]
        for mine in (channel.image_of == j for j in range(len(channel.steepest)))
    ]

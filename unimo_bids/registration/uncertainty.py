"""How far off a pose may be, from how much the parts of a head disagree about it.

What a model leaves unexplained (another contrast, distortion, flow) is as wide as anatomy is, so
that neighbouring points err alike. A covariance that counts points, or voxels, as independent is
thousands of times too small. Here the head is cut into cubes, and each is left out in turn (the
delete-one-block jackknife, Künsch 1989), by one Gauss–Newton step from the pose of all::

    δ_b = (H - H_b)⁻¹ (g - g_b),     C = (G - 1) / G · Σ_b (δ_b - δ̄) (δ_b - δ̄)ᵀ

H and g are Hessian and right-hand side of the normal equations, H_b and g_b what the points of cube
b add to them, δ̄ the mean over the G cubes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unimo_bids.registration.intensity import CAUCHY, gains, modelled, read_points
from unimo_bids.registration.least_squares import robust_scale, solve, symmetric
from unimo_bids.registration.levels import Level
from unimo_bids.registration.target import Target
from unimo_bids.registration.thresholds import PAIR


def jackknife(hessians: Tensor, scores: Tensor) -> Tensor:
    """Covariance of a least-squares estimate from blocks of its observations.

    Parameters
    ----------
    hessians
        ``(B, G, 6, 6)`` H_b of each block, ``Σ w J Jᵀ`` over its points.
    scores
        ``(B, G, 6)`` g_b, ``Σ w r J`` with the residual r.

    Returns
    -------
    Tensor
        ``(B, 6, 6)``, in the unit of the parameters.
    """
    many = scores.shape[1]
    without = hessians.sum(dim=1, keepdim=True) - hessians
    rest = scores.sum(dim=1, keepdim=True) - scores
    steps = solve(without.flatten(0, 1), rest.flatten(0, 1)).reshape(scores.shape)
    steps = steps - steps.mean(dim=1, keepdim=True)
    return (many - 1) / many * steps.mT @ steps


def widened(covariance: Tensor, voxel: float) -> Tensor:
    """What blocks tell, and what they cannot: ``(B, 6, 6)``, translations and arcs in mm.

    Parameters
    ----------
    covariance
        ``(B, 6, 6)`` of `jackknife`.
    voxel
        Its widest edge, mm.
    """
    floor = (PAIR.interpolation * voxel) ** 2 * torch.eye(covariance.shape[-1]).to(covariance)
    return PAIR.wider**2 * covariance + floor


def block_covariance(
    target: Target,
    sampled: Tensor,
    poses: Tensor,
    *,
    level: Level | None = None,
    valid: Tensor | None = None,
) -> Tensor:
    """Covariance ``(B, 6, 6)`` as that of `Registration`, from how parts of the head disagree.

    Costs one more sampling of each frame; see `uncertainty`. Robust weights count as given, and so
    does the intensity model.

    Parameters
    ----------
    target, sampled, level, valid
        As of `register`.
    poses
        ``(B, 4, 4)`` where it ended.
    """
    found = [
        _of_cubes(
            target,
            target.cubes,
            *read_points(
                target,
                level or target.level,
                sampled[b : b + 1],
                poses[b : b + 1].double(),
                None if valid is None else valid[b : b + 1],
            ),
        )
        for b in range(len(poses))  # all at once would take more memory than the rest of a run
    ]
    hessians, scores = (torch.stack(one) for one in zip(*found, strict=True))
    voxel = target.level.grid.widest
    return of_motion(widened(jackknife(hessians, scores), voxel), target)


def _of_cubes(
    target: Target, cube_of: Tensor, view: Tensor, values: Tensor
) -> tuple[Tensor, Tensor]:
    """What each cube adds to one frame's normal equations, ``(G, 6, 6)`` and ``(G, 6)``.

    Parameters
    ----------
    cube_of
        From `cubes`.
    view, values
        ``(1, N)`` and ``(1, C, N)`` of `read_points`.
    """
    first, second = torch.triu_indices(6, 6, device=values.device)
    squares, scores = torch.zeros(2, device=values.device).double()
    for c, channel in enumerate(target.channels):
        terms = channel.terms
        coefficients, residual = modelled(channel, view, values[:, c])
        sigma = robust_scale(residual, view)[:, None]
        weights = view / (1 + (residual / (CAUCHY * sigma)) ** 2) / sigma**2
        first_gain, *more = gains(channel, coefficients)
        motion = first_gain * channel.steepest[0]  # (6, N)
        for gain, steepest in zip(more, channel.steepest[1:], strict=True):
            motion.addcmul_(gain, steepest)
        # the intensity model adapts along: what it takes of motion and residual is not theirs
        both = torch.cat([motion, residual])
        taken = solve(
            symmetric(weights @ channel.term_products.mT, len(terms))[0],
            (weights * both @ terms.mT).mT.double(),
        )
        both = both - taken.mT.float() @ terms
        weighted = weights * both
        squares = squares + ((weighted[first] * both[second]) @ cube_of).double()
        scores = scores + ((weighted[:6] * both[6:]) @ cube_of).double()
    return symmetric(squares.mT, 6), scores.mT


def of_motion(covariance: Tensor, target: Target) -> Tensor:
    """Rotations in radians, not in mm on the head's surface."""
    scale = torch.tensor([1 / target.radius] * 3 + [1.0] * 3).to(covariance)
    return covariance * scale[:, None] * scale

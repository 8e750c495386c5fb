"""Rigid registration of many frames to one target, to hundredths of a millimetre.

Inverse-compositional Gauss–Newton with Levenberg–Marquardt damping. The target f is known at fixed
points x; a frame m with pose T is read at ``T x``. Intensities need not agree, they are modelled::

    m(T x) ≈ Σₖ cₖ φₖ(x) + Σⱼ sⱼ(x) Jⱼ(x) δ,     sⱼ = Σₖ cₖ ∂φₖ/∂fⱼ

The terms φ are the target's images fⱼ (one, or several where contrast changes from frame to frame),
a constant, and the first image times a smooth field. Jⱼ is the change of fⱼ when x moves by the
small motion δ; it belongs to the target and is computed once. An iteration is one sampling of the
frame and a 6×6 solve; the pose is updated by ``T ← T exp(-δ)``.

Every point has a weight per frame: soft mask × inside the frame's field of view × robust weight.
Parameters inside are in mm: rotations are scaled by the radius of the head.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unimo_bids.registration.intensity import CAUCHY, backdrop_squares, gains, modelled, read_points
from unimo_bids.registration.least_squares import robust_scale, solve, symmetric
from unimo_bids.registration.levels import Level
from unimo_bids.registration.target import Channel, Target
from unimo_bids.registration.uncertainty import of_motion
from unimo_bids.spatial import rigid

# structure below this share of the intensity is rounding: of float32, in a fit of ten terms
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Registration:
    """Result for B frames.

    Attributes
    ----------
    poses
        ``(B, 4, 4)`` float64 RAS mm, reference → frame.
    covariance
        ``(B, 6, 6)`` of the rotation vector (rad) and the translation (mm) of the centre.
    similarity
        ``(B,)`` correlation of the frame with the modelled target over the points in view, 0 … 1,
        beyond what a smooth field would explain without the target.
    in_view
        ``(B,)`` share of the target inside the frame's field of view.
    """

    poses: Tensor
    covariance: Tensor
    similarity: Tensor
    in_view: Tensor

    @property
    def score(self) -> Tensor:
        """Similarity, less where little of the target is in view: a sliver fits anything."""
        return self.similarity * (self.in_view / 0.5).clamp(max=1)

    def rows(self, rows: Any) -> Registration:
        """Of some frames."""
        return Registration(*(part[rows] for part in vars(self).values()))

    @classmethod
    def joined(cls, parts: Iterable[Registration]) -> Registration:
        """Of the frames of several, one after the other."""
        together = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*(torch.cat(part) for part in together))


@dataclass
class _Normal:
    """Normal equations and fit of B frames at their poses."""

    hessian: Tensor  # (B, 6, 6)
    rhs: Tensor  # (B, 6)
    scale: Tensor  # (B, C) robust standard deviation of the residuals
    cost: Tensor  # (B,) with this scale
    cost_old_scale: Tensor  # (B,) with the scale given
    similarity: Tensor  # (B,)
    in_view: Tensor  # (B,)

    def put(self, index: Tensor, other: _Normal, chosen: Tensor) -> None:
        for name, value in vars(self).items():
            value[index[chosen]] = getattr(other, name)[chosen]


def _normal_equations(
    target: Target,
    level: Level,
    sampled: Tensor,
    poses: Tensor,
    scale: Tensor | None,
    robust: bool,
    valid: Tensor | None,
) -> _Normal:
    view, values = read_points(target, level, sampled, poses, valid)
    n_frames, n_channels, _ = values.shape
    in_view = view.sum(dim=-1)
    hessian = torch.zeros(n_frames, 6, 6, dtype=torch.float64, device=values.device)
    rhs = torch.zeros(n_frames, 6, dtype=torch.float64, device=values.device)
    new_scale = torch.zeros(n_frames, n_channels, device=values.device)
    cost = torch.zeros(n_frames, device=values.device)
    cost_old_scale = torch.zeros_like(cost)
    unexplained = torch.zeros_like(cost)
    for c, channel in enumerate(target.channels):
        m, terms = values[:, c], channel.terms
        seen = view * m
        coefficients, residual = modelled(channel, view, m)

        weights = view
        sigma = robust_scale(residual, view)
        new_scale[:, c] = sigma
        squares = (view * residual**2).sum(dim=-1)
        empty = backdrop_squares(channel, view, m)
        # a place without any structure explains nothing, however well it fits
        structured = empty > _ROUNDING**2 * (seen * m).sum(dim=-1)
        fraction = torch.where(structured, squares / empty, 1.0)
        unexplained += fraction / n_channels
        if robust:
            squared = (residual / (CAUCHY * sigma[:, None])) ** 2
            weights = view / (1 + squared)
            share = (view * torch.log1p(squared)).sum(dim=-1) / in_view
            cost += share
            if scale is not None:
                squared = squared * (sigma / scale[:, c])[:, None] ** 2
                share = (view * torch.log1p(squared)).sum(dim=-1) / in_view
            cost_old_scale += share
        else:
            cost += fraction
            cost_old_scale += fraction

        h_motion, h_mixed, g_motion = _motion_moments(channel, coefficients, weights, residual)
        h_terms = symmetric(weights @ channel.term_products.mT, len(terms))
        g_terms = ((weights * residual) @ terms.mT).double()[..., None]
        # the intensity model adapts along with the motion: eliminate it (Schur complement)
        eliminated = solve(h_terms, torch.cat([h_mixed.mT, g_terms], dim=-1))
        precision = 1 / sigma.double().clamp(min=1e-12) ** 2
        hessian += precision[:, None, None] * (h_motion - h_mixed @ eliminated[..., :6])
        rhs += precision[:, None] * (g_motion - h_mixed @ eliminated[..., 6:])[..., 0]
    return _Normal(
        hessian=hessian,
        rhs=rhs,
        scale=new_scale,
        cost=torch.nan_to_num(cost, nan=torch.inf),
        cost_old_scale=torch.nan_to_num(cost_old_scale, nan=torch.inf),
        similarity=torch.nan_to_num(1 - unexplained).clamp(0, 1).sqrt(),
        in_view=in_view / target.weights.sum(),
    )


def _motion_moments(
    channel: Channel, coefficients: Tensor, weights: Tensor, residual: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted sums over the points, of what the motion changes in the modelled frame.

    That is ``(B, N, 6)``, Σⱼ sⱼ Jⱼ per mm. Its products with itself ``(B, 6, 6)``, with the terms
    ``(B, 6, K)`` and with the residual ``(B, 6, 1)``, all float64.
    """
    many = len(channel.terms)
    gain_of = gains(channel, coefficients)
    if len(gain_of) == 1:  # one product of matrices for all frames
        weighted = weights * gain_of[0]
        squares = symmetric((weighted * gain_of[0]) @ channel.steepest_products.mT, 6)
        mixed = (weighted @ channel.mixed_products.mT).reshape(-1, 6, many)
        rest = ((weighted * residual) @ channel.steepest[0].mT)[..., None]
        return squares, mixed.double(), rest.double()
    motion = gain_of[0][:, None] * channel.steepest[0]
    for gain, steepest in zip(gain_of[1:], channel.steepest[1:], strict=True):
        motion.addcmul_(gain[:, None], steepest)
    weighted = weights[:, None] * motion  # (B, 6, N)
    squares, mixed = weighted @ motion.mT, weighted @ channel.terms.mT
    return squares.double(), mixed.double(), (weighted @ residual[..., None]).double()


def register(
    target: Target,
    sampled: Tensor,
    poses: Tensor,
    *,
    level: Level | None = None,
    iterations: int = 20,
    tolerance: float = 0.005,
    robust: bool = True,
    valid: Tensor | None = None,
) -> Registration:
    """Register frames to a target.

    Parameters
    ----------
    target
        From `make_target`.
    sampled
        ``(B, C, X, Y, Z)`` frames at the target's level (`Level.sampled`).
    poses
        ``(B, 4, 4)`` where to start.
    level
        Of the frames, when they are a window of the target's level.
    iterations
        At most this many samplings of each frame.
    tolerance
        Stop when a step moves the head by less, mm.
    valid
        ``(B, X, Y, Z)`` at the frames' level, 0 … 1: where not, a frame counts as out of view.
    """
    poses = poses.double().clone()
    n = len(poses)
    device = sampled.device
    active = torch.arange(n, device=device)
    damping = torch.full((n,), 1e-4, dtype=torch.float64, device=device)
    trial = poses.clone()
    best: _Normal | None = None
    for _ in range(iterations):
        frames = sampled if len(active) == n else sampled[active]
        scale = None if best is None else best.scale[active]
        of_active = valid if valid is None or len(active) == n else valid[active]
        now = _normal_equations(
            target, level or target.level, frames, trial[active], scale, robust, of_active
        )
        if best is None:
            best = now
            better = torch.ones(n, dtype=torch.bool, device=device)
        else:
            better = now.cost_old_scale <= best.cost[active]
            best.put(active, now, better)
        poses[active[better]] = trial[active[better]]
        damping[active] *= torch.where(better, 1 / 3, 8.0)

        h, g = best.hessian[active], best.rhs[active]
        diagonal = torch.diag_embed(h.diagonal(dim1=-2, dim2=-1))
        step = solve(h + damping[active, None, None] * diagonal, g)
        step = torch.nan_to_num(step)
        trial[active] = _moved(poses[active], step, target)
        small = torch.linalg.norm(step, dim=-1) < tolerance
        poses[active[small]] = trial[active[small]]
        active = active[~small & torch.isfinite(best.cost[active])]
        if len(active) == 0:
            break
    assert best is not None
    return Registration(
        poses=rigid.orthonormalized(poses),
        covariance=_covariance(best, target),
        similarity=best.similarity.double(),
        in_view=best.in_view.double(),
    )


def _moved(poses: Tensor, step: Tensor, target: Target) -> Tensor:
    """``T exp(-δ)`` for steps ``(B, 6)`` in mm about the target's centre."""
    center = target.center.to(step)
    back = rigid.from_parameters(-step[:, :3] / target.radius, -step[:, 3:], center)
    return poses @ back


def _covariance(fit: _Normal, target: Target) -> Tensor:
    """Covariance of the six parameters from the curvature, ``(B, 6, 6)``.

    The Hessian counts every point as an independent observation; the blur makes neighbours agree.
    """
    ridge = torch.eye(6, dtype=torch.float64, device=fit.hessian.device) * 1e-9
    covariance = torch.linalg.inv(fit.hessian + ridge) * target.correlated
    return of_motion(covariance, target)

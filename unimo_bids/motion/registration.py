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

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from unimo_bids.motion.least_squares import robust_scale, solve
from unimo_bids.motion.levels import Level
from unimo_bids.motion.masks import MaskError
from unimo_bids.motion.uncertainty import EDGE, cubes, jackknife, widened
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grids import smooth_fields, voxel_centers
from unimo_bids.spatial.interpolation import gradient, sample_linear

IntensityModel = Literal["gain", "bias"]

# Cauchy weights with 95 % efficiency on Gaussian residuals (Holland & Welsch 1977)
_CAUCHY = 2.385
# structure below this share of the intensity is rounding: of float32, in a fit of ten terms
_ROUNDING = 1e-5
# of what a place shows at a level, at least this part has to come from valid voxels
LEAST_VALID = 0.9


@dataclass(frozen=True)
class Channel:
    """One feature of the target (intensity, edge strength) at N points: J images, K terms.

    Attributes
    ----------
    steepest
        ``(J, N, 6)`` change of each image per mm of the six parameters.
    terms
        ``(K, N)`` φ.
    slopes
        ``(K, N)`` derivative of each term with respect to the image it is made of.
    image_of
        ``(K,)`` which image that is.
    backdrop
        ``(L, N)`` what any place would show without the head: a constant, the smooth fields.
    """

    steepest: Tensor
    terms: Tensor
    slopes: Tensor
    image_of: Tensor
    backdrop: Tensor

    # Sums of these with a frame's weights make up its normal equations: for all frames at once, in
    # one product of matrices.
    @cached_property
    def term_products(self) -> Tensor:
        """Of each two terms, ``(K (K + 1) / 2, N)``."""
        return _products(self.terms)

    @cached_property
    def backdrop_products(self) -> Tensor:
        """Of each two parts of the backdrop, ``(L (L + 1) / 2, N)``."""
        return _products(self.backdrop)

    @cached_property
    def steepest_products(self) -> Tensor:
        """Of the first image's changes, ``(21, N)``."""
        return _products(self.steepest[0].mT)

    @cached_property
    def mixed_products(self) -> Tensor:
        """Of the first image's changes with each term, ``(6 K, N)``."""
        return (self.steepest[0].mT[:, None] * self.terms).flatten(0, 1)


@dataclass(frozen=True)
class Target:
    """What frames are registered to: fixed points with all that Gauss–Newton needs of them.

    Attributes
    ----------
    level
        The resolution at which frames must be presented.
    points
        ``(N, 3)`` mm relative to `center`.
    weights
        ``(N,)`` soft mask.
    center
        ``(3,)`` mm, the point motions turn about.
    radius
        mm, of the masked head; scales rotations.
    """

    level: Level
    points: Tensor
    weights: Tensor
    center: Tensor
    radius: float
    channels: tuple[Channel, ...]


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


def make_target(
    features: Sequence[Tensor],
    weights: Tensor,
    level: Level,
    *,
    center: Tensor,
    radius: float,
    model: IntensityModel = "gain",
    max_points: int = 32_768,
) -> Target:
    """Prepare the fixed side of a registration.

    Parameters
    ----------
    features
        For each channel ``(J, X, Y, Z)`` images of the reference at `level`; of several, any
        combination may make up a frame.
    weights
        ``(X, Y, Z)`` soft mask at `level`.
    model
        ``gain``: gain and offset; ``bias``: also a smooth field in place (second order), as a
        head sees it that moves in a coil's.
    max_points
        Keep the points with the most information (weight × gradient) when there are more.
    """
    grid = voxel_centers(level.shape, weights.device)
    flat_weights = weights.reshape(-1) * level.validity(grid).to(weights)
    slopes = [gradient(images, level.affine).reshape(len(images), -1, 3) for images in features]
    chosen = flat_weights > 0.05  # below, a point costs as much as any and tells nothing
    if int(chosen.sum()) > max_points:
        strength = torch.zeros_like(flat_weights)
        for slope in slopes:
            steepness = torch.linalg.norm(slope, dim=(0, 2))
            strength += steepness / steepness.mean()
        keep = torch.topk(strength * flat_weights * chosen, max_points).indices
        chosen = torch.zeros_like(chosen).index_fill_(0, keep, True)
    index = torch.nonzero(chosen)[:, 0]
    if len(index) == 0:
        raise MaskError("the mask lies outside the field of view")

    world = rigid.transform(level.affine.to(grid), grid[index])
    points = (world - center.to(world)).float()
    return Target(
        level=level,
        points=points,
        weights=flat_weights[index],
        center=center.double(),
        radius=radius,
        channels=tuple(
            _channel(
                images.reshape(len(images), -1)[:, index], slope[:, index], points / radius, model
            )
            for images, slope in zip(features, slopes, strict=True)
        ),
    )


def _channel(f: Tensor, slope: Tensor, place: Tensor, model: IntensityModel) -> Channel:
    """Terms of one feature from ``(J, N)`` images, their gradients, and places of unit size."""
    arm = place.expand(len(f), -1, -1)
    steepest = torch.cat([torch.linalg.cross(arm, slope), slope], dim=-1)
    one = torch.ones_like(f[0])
    terms, slopes, image_of = [*f, one], [one] * len(f) + [0 * one], [*range(len(f)), 0]
    backdrop = [one]
    if model == "bias":
        for field in smooth_fields(place):
            terms.append(f[0] * field)
            slopes.append(field)
            image_of.append(0)
            backdrop.append(field)
    return Channel(
        steepest=steepest,
        terms=torch.stack(terms),
        slopes=torch.stack(slopes),
        image_of=torch.tensor(image_of, device=f.device),
        backdrop=torch.stack(backdrop),
    )


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


def _seen(
    target: Target, level: Level, sampled: Tensor, poses: Tensor, valid: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Weights ``(B, N)`` of the points in view, and the frames' values there, ``(B, C, N)``."""
    to_index = torch.linalg.inv(level.affine).to(poses) @ poses
    origin = rigid.transform(to_index, target.center.to(poses)[None])  # float64: keeps 1e-5 voxel
    # each coordinate in one piece, as sampling likes it
    indices = (to_index[:, :3, :3].float() @ target.points.mT + origin.float().mT).mT
    view = level.validity(indices) * target.weights
    if valid is not None:
        there = sample_linear(valid[:, None], indices)[:, 0]
        view = view * ((there - LEAST_VALID) / (1 - LEAST_VALID)).clamp(0, 1)
    return view, level.sample(sampled, indices)


def _normal_equations(
    target: Target,
    level: Level,
    sampled: Tensor,
    poses: Tensor,
    scale: Tensor | None,
    robust: bool,
    valid: Tensor | None,
) -> _Normal:
    view, values = _seen(target, level, sampled, poses, valid)
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
        coefficients, residual = _modelled(channel, view, m)

        weights = view
        sigma = robust_scale(residual, view)
        new_scale[:, c] = sigma
        squares = (view * residual**2).sum(dim=-1)
        empty = _backdrop_squares(channel, view, m)
        # a place without any structure explains nothing, however well it fits
        structured = empty > _ROUNDING**2 * (seen * m).sum(dim=-1)
        fraction = torch.where(structured, squares / empty, 1.0)
        unexplained += fraction / n_channels
        if robust:
            squared = (residual / (_CAUCHY * sigma[:, None])) ** 2
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
        h_terms = _symmetric(weights @ channel.term_products.mT, len(terms))
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


def _modelled(channel: Channel, view: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients ``(B, K)`` of the terms in frames ``(B, N)``, and what is left, ``(B, N)``."""
    gram = _symmetric(view @ channel.term_products.mT, len(channel.terms))
    coefficients = solve(gram, ((view * m) @ channel.terms.mT).double()).float()
    return coefficients, m - coefficients @ channel.terms


def _backdrop_squares(channel: Channel, view: Tensor, m: Tensor) -> Tensor:
    """What is left of frames ``(B, N)`` without the head's structure, sum of squares ``(B,)``.

    The yardstick of similarity: a smooth field can bend a flat head to any smooth place, so what a
    smooth field explains alone must not count.
    """
    backdrop = channel.backdrop
    gram = _symmetric(view @ channel.backdrop_products.mT, len(backdrop))
    fit = solve(gram, ((view * m) @ backdrop.mT).double()).float() @ backdrop
    return (view * (m - fit) ** 2).sum(dim=-1)


def _gains(channel: Channel, coefficients: Tensor) -> list[Tensor]:
    """How each of the target's images enters the modelled frames at every point, ``(B, N)``."""
    return [
        coefficients[:, mine] @ channel.slopes[mine]
        for mine in (channel.image_of == j for j in range(len(channel.steepest)))
    ]


def _motion_moments(
    channel: Channel, coefficients: Tensor, weights: Tensor, residual: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted sums over the points, of what the motion changes in the modelled frame.

    That is ``(B, N, 6)``, Σⱼ sⱼ Jⱼ per mm. Its products with itself ``(B, 6, 6)``, with the terms
    ``(B, 6, K)`` and with the residual ``(B, 6, 1)``, all float64.
    """
    many = len(channel.terms)
    gains = _gains(channel, coefficients)
    if len(gains) == 1:  # one product of matrices for all frames
        weighted = weights * gains[0]
        squares = _symmetric((weighted * gains[0]) @ channel.steepest_products.mT, 6)
        mixed = (weighted @ channel.mixed_products.mT).reshape(-1, 6, many)
        rest = ((weighted * residual) @ channel.steepest[0])[..., None]
        return squares, mixed.double(), rest.double()
    motion = torch.zeros((), device=weights.device)
    for gain, steepest in zip(gains, channel.steepest, strict=True):
        motion = motion + gain[:, None] * steepest.mT
    weighted = weights[:, None] * motion  # (B, 6, N)
    squares, mixed = weighted @ motion.mT, weighted @ channel.terms.mT
    return squares.double(), mixed.double(), (weighted @ residual[..., None]).double()


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
    view, values = _seen(target, level or target.level, sampled, poses.double(), valid)
    cube_of = cubes(target.points, EDGE * target.radius).to(values)
    first, second = torch.triu_indices(6, 6, device=values.device)
    squares, scores = torch.zeros(2, device=values.device).double()
    for c, channel in enumerate(target.channels):
        terms = channel.terms
        coefficients, residual = _modelled(channel, view, values[:, c])
        sigma = robust_scale(residual, view)[:, None]
        weights = view / (1 + (residual / (_CAUCHY * sigma)) ** 2) / sigma**2
        motion = torch.zeros((), device=values.device)
        for gain, steepest in zip(_gains(channel, coefficients), channel.steepest, strict=True):
            motion = motion + gain[:, None] * steepest.mT  # (B, 6, N)
        # the intensity model adapts along: what it takes of motion and residual is not theirs
        both = torch.cat([motion, residual[:, None]], dim=1)
        weighted = weights[:, None] * both
        taken = solve(
            _symmetric(weights @ channel.term_products.mT, len(terms)),
            (weighted @ terms.mT).mT.double(),
        )
        both = both - taken.mT.float() @ terms
        weighted = weights[:, None] * both
        squares = squares + ((weighted[:, first] * both[:, second]) @ cube_of).double()
        scores = scores + ((weighted[:, :6] * both[:, 6:]) @ cube_of).double()
    hessians = _symmetric(squares.mT.flatten(0, 1), 6).reshape(len(poses), -1, 6, 6)
    voxel = float(target.level.spacing.max())
    return _of_motion(widened(jackknife(hessians, scores.mT), voxel), target)


def _products(rows: Tensor) -> Tensor:
    """Products of each two of ``(K, N)``, ``(K (K + 1) / 2, N)``."""
    first, second = torch.triu_indices(len(rows), len(rows), device=rows.device)
    return rows[first] * rows[second]


def _symmetric(sums: Tensor, size: int) -> Tensor:
    """Matrices ``(B, K, K)`` float64 from what the rows of `_products` sum up to, ``(B, ...)``."""
    first, second = torch.triu_indices(size, size, device=sums.device)
    matrix = torch.empty(len(sums), size, size, dtype=torch.float64, device=sums.device)
    matrix[:, first, second] = matrix[:, second, first] = sums.double()
    return matrix


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
    A Gaussian of σ voxels correlates ``(2 √π σ)³`` of them.
    """
    sigma = (target.level.blur / target.level.spacing).clamp(min=1 / (2 * math.sqrt(math.pi)))
    correlated = float(torch.prod(2 * math.sqrt(math.pi) * sigma))
    density = len(target.points) / max(1.0, float(target.weights.sum()))
    ridge = torch.eye(6, dtype=torch.float64, device=fit.hessian.device) * 1e-9
    covariance = torch.linalg.inv(fit.hessian + ridge) * max(1.0, correlated * min(1.0, density))
    return _of_motion(covariance, target)


def _of_motion(covariance: Tensor, target: Target) -> Tensor:
    """Rotations in radians, not in mm on the head's surface."""
    scale = torch.tensor([1 / target.radius] * 3 + [1.0] * 3).to(covariance)
    return covariance * scale[:, None] * scale

"""Poses of many frames of different contrast at once, without knowing any of the contrasts.

Frames of one head in any contrasts are combinations of few images (one per tissue), if they are
aligned. Let row t of A(δ) be frame t, read at the points through its pose and a small motion δ_t,
less what a constant and a receive field explain. With U the J leading left singular vectors of A
and V the right ones, what no J images explain is ``R = (I - UUᵀ) A``, and to first order ::

    R(δ) = R + (I - UUᵀ) [J_t δ_t]_t (I - VVᵀ),      J_t = ∂A_t/∂δ_t

the images adapt along with the motion, as in variable projection. Minimising |R(δ)|² couples the
frames through ``I - UUᵀ``; one solve of all motions finds in a few steps what alternating between
images and poses finds in hundreds (poses found under wrong images, and images averaged under wrong
poses, correct each other only by a fraction).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unimo_bids.registration.target import Target
from unimo_bids.registration.thresholds import CONTRAST
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import smooth_fields

_SLOPE_STEP = 0.3  # mm, of the central differences
_LONGEST_STEP = 5.0  # mm: beyond, the first order says nothing
_ITERATIONS = 10  # at most, for each number of images
_TOLERANCE = 0.005  # mm: stop when no step moves a head by more
_FEWEST = 6  # fewer frames have nothing in common to speak of
# of the variance, that an image carries to count: misplaced frames make images too, until they are
# aligned. After two rounds most are, and more images may stand out
_SHARES, _SETTLED = (0.003, 0.0, 0.0, 0.0), 2


@dataclass(frozen=True)
class JointAlignment:
    """Result for B frames.

    Attributes
    ----------
    poses
        ``(B, 4, 4)`` RAS mm, right up to a motion common to all; frames not kept are as they were.
    kept
        ``(B,)`` bool: frames that share their images with others.
    loadings
        ``(kept, J)`` of J common images beside the mean, orthonormal columns; J may be 0.
    """

    poses: Tensor
    kept: Tensor
    loadings: Tensor


@dataclass
class _Fit:
    loadings: Tensor  # (B, J) U
    images: Tensor  # (N, L) orthonormal: V, and what a constant and a receive field make
    residual: Tensor  # (B, N) R
    cost: float


def align_jointly(target: Target, sampled: Tensor, poses: Tensor) -> JointAlignment:
    """Align frames with the few images that all of them are made of.

    Parameters
    ----------
    target
        Where to look: its points and weights; of its images only the place is used.
    sampled
        ``(B, X, Y, Z)`` frames at the target's level (`Level.sampled`).
    poses
        ``(B, 4, 4)`` where to start: within the blur of the level for most.
    """
    poses = poses.double().clone()
    if len(poses) < _FEWEST:
        kept = torch.ones(len(poses), dtype=torch.bool, device=poses.device)
        return JointAlignment(poses, kept, torch.zeros(len(poses), 0, device=poses.device))
    sampled = _evenly_bright(target, sampled, poses)
    count, kept = 0, torch.ones(len(poses), dtype=torch.bool, device=poses.device)
    for step, share in enumerate(_SHARES):
        more, among = _count_images(target, sampled, poses, share)
        # once aligned, what stands out may be as little as interpolation leaves: no frame's end
        if step >= _SETTLED and (more <= count or bool((kept & ~among).any())):
            break
        count, kept = more, among
        poses[kept], loadings = _descend(target, sampled[kept], poses[kept], count)
    return JointAlignment(rigid.orthonormalized(poses), kept, loadings)


def _evenly_bright(target: Target, sampled: Tensor, poses: Tensor) -> Tensor:
    """Frames of more equal brightness: else images are those of the brightest few.

    The root of what would make them equal: that would make too much of the noise in dark ones.
    """
    A, root = _read(target, sampled, poses)
    size = torch.linalg.norm(A - (A @ root)[:, None] * root / (root @ root), dim=1)
    gain = (size.median() / size.clamp(min=1e-6 * float(size.max()) + 1e-30)).sqrt()
    return sampled * gain[:, None, None, None]


def _count_images(
    target: Target, sampled: Tensor, poses: Tensor, least: float
) -> tuple[int, Tensor]:
    """How many images stand out, and the frames ``(B,)`` that share them."""
    kept = torch.ones(len(poses), dtype=torch.bool, device=poses.device)
    while True:
        A, root = _read(target, sampled[kept], poses[kept])
        rest, _ = _without_fields(A, root, target)
        energy, U = torch.linalg.eigh((rest @ rest.T).double())
        energy, U = energy.flip(0), U.flip(1)
        flat = A - (A @ root)[:, None] * root / (root @ root)
        of_rest = float(energy[len(A) // 2 :].median())
        floor = max(least * float(flat.square().sum()), CONTRAST.above_rest * of_rest)
        count = min(int((energy > floor).sum()), len(A) // 2)
        leverage = U[:, :count].square().sum(dim=1)
        worst = int(leverage.argmax())
        if float(leverage[worst]) < CONTRAST.leverage or len(A) <= _FEWEST:
            return count, kept
        kept[torch.nonzero(kept)[worst]] = False


def _descend(target: Target, frames: Tensor, poses: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Poses at which `count` images explain the frames best, and the images' loadings."""
    fit = _fit(*_read(target, frames, poses), target, count)
    # a motion of all frames changes nothing: the one that depends least on the images stays
    free = torch.ones(len(poses), dtype=torch.bool, device=poses.device)
    free[fit.loadings.square().sum(dim=1).argmin()] = False
    center = target.center.expand(len(poses), 3)
    damping = 1e-3
    for _ in range(_ITERATIONS):
        hessian, slope = _normal_equations(target, frames, poses, fit, free)
        while damping < 1e3:
            diagonal = torch.diag(damping * hessian.diagonal() + 1e-12)
            step = torch.zeros(len(poses), 6, dtype=torch.float64, device=poses.device)
            step[free] = -torch.linalg.solve(hessian + diagonal, slope).reshape(-1, 6)
            length = torch.linalg.norm(step, dim=1, keepdim=True)
            step = step * (_LONGEST_STEP / length.clamp(min=_LONGEST_STEP))
            trial = poses @ rigid.from_parameters(step[:, :3] / target.radius, step[:, 3:], center)
            new = _fit(*_read(target, frames, trial), target, count)
            if new.cost <= fit.cost:
                break
            damping *= 8
        else:
            break
        poses, fit, damping = trial, new, max(damping / 4, 1e-6)
        if float(length.max()) < _TOLERANCE:
            break
    return poses, fit.loadings


def _read(target: Target, frames: Tensor, poses: Tensor) -> tuple[Tensor, Tensor]:
    """Frames at the target's points, ``(B, N)``, and the weights of the points in all, ``(N,)``."""
    values, view = _sample(target, frames, poses, torch.zeros(3, device=frames.device))
    root = (target.weights * view.amin(dim=0)).sqrt()
    return values * root, root


def _sample(target: Target, frames: Tensor, poses: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    level = target.level
    to_index = level.grid.to_index.to(poses) @ poses
    origin = rigid.transform(to_index, target.center.to(poses)[None])
    indices = (target.points + shift) @ to_index[:, :3, :3].float().mT + origin.float()
    return level.sample(frames[:, None], indices)[:, 0], level.validity(indices)


def _without_fields(A: Tensor, root: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """A less a constant, the mean and the mean in a receive field; the basis of these."""
    mean = A.median(dim=0).values
    fields = mean * smooth_fields(target.points / target.radius)
    basis = torch.linalg.qr(torch.cat([mean[None], root[None], fields]).T.double()).Q.to(A)
    return A - (A @ basis) @ basis.T, basis


def _fit(A: Tensor, root: Tensor, target: Target, count: int) -> _Fit:
    """What `count` common images leave of the frames."""
    rest, basis = _without_fields(A, root, target)
    U = torch.linalg.eigh((rest @ rest.T).double()).eigenvectors.flip(1)[:, :count].to(A)
    V = torch.linalg.qr((rest.T @ U).double()).Q.to(A)
    residual = rest - U @ (U.T @ rest)
    # relative to the frames' own size: weights change as points leave the view
    cost = float(residual.square().sum() / A.square().sum().clamp(min=1e-30))
    return _Fit(U, torch.cat([basis, V], dim=1), residual, cost)


def _normal_equations(
    target: Target, frames: Tensor, poses: Tensor, fit: _Fit, free: Tensor
) -> tuple[Tensor, Tensor]:
    """Hessian and gradient of ``|R(δ)|²/2`` in the motions of the free frames."""
    axes = _SLOPE_STEP * torch.eye(3, device=frames.device)
    ahead = [_sample(target, frames, poses, axis)[0] for axis in axes]
    behind = [_sample(target, frames, poses, -axis)[0] for axis in axes]
    slope = torch.stack([(a - b) / (2 * _SLOPE_STEP) for a, b in zip(ahead, behind, strict=True)])
    slope = slope.permute(1, 2, 0)  # (B, N, 3)
    arm = (target.points / target.radius).expand(len(frames), -1, -1)
    _, root = _read(target, frames, poses)
    J = torch.cat([torch.linalg.cross(arm, slope), slope], dim=-1) * root[:, None]
    J = (J - fit.images @ (fit.images.T @ J))[free]  # (B', N, 6)
    U = fit.loadings[free]
    between = torch.eye(len(U), device=U.device) - U @ U.T
    columns = J.permute(1, 0, 2).reshape(J.shape[1], -1)
    gram = (columns.T @ columns).reshape(len(U), 6, len(U), 6)
    hessian = (between[:, None, :, None] * gram).reshape(6 * len(U), -1)
    gradient = torch.einsum("bnk,bn->bk", J, fit.residual[free]).reshape(-1)
    return hessian.double(), gradient.double()

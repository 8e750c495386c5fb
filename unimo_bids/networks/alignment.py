"""The pose between two volumes, each known by key points and vectors: a Procrustes problem.

Lengths are relative to the radius of what moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unimo_bids.spatial import rigid


@dataclass(frozen=True)
class Representation:
    """What B volumes are known by.

    Attributes
    ----------
    points
        ``(B, K, 3)`` key points.
    vectors
        ``(B, M, 3)`` directions, of any length.
    weights
        ``(B, K + M)`` how much each counts.
    """

    points: Tensor
    vectors: Tensor
    weights: Tensor

    def __getitem__(self, which: Any) -> Representation:
        """Representations of some of the volumes."""
        return Representation(self.points[which], self.vectors[which], self.weights[which])


def together(parts: Sequence[Representation], shares: Sequence[Tensor]) -> Representation:
    """Several representations as one, with a share of the weight for each."""
    points = [part.points.shape[1] for part in parts]
    weights = [share * part.weights for part, share in zip(parts, shares, strict=True)]
    of_points = [w[:, :many] for w, many in zip(weights, points, strict=True)]
    of_vectors = [w[:, many:] for w, many in zip(weights, points, strict=True)]
    return Representation(
        torch.cat([part.points for part in parts], dim=1),
        torch.cat([part.vectors for part in parts], dim=1),
        torch.cat(of_points + of_vectors, dim=1),
    )


@dataclass(frozen=True)
class Alignment:
    """How one representation is carried onto another.

    Attributes
    ----------
    poses
        ``(B, 4, 4)`` fixed → moving, radii.
    evidence
        ``(B, 3)`` logarithms of what is left of the key points' spread and of the vectors' length
        after alignment, and of how far the second-best rotation is.
    """

    poses: Tensor
    evidence: Tensor


def align(fixed: Representation, moving: Representation) -> Alignment:
    """Solve the weighted Procrustes problem of key points and vectors."""
    weights = fixed.weights * moving.weights
    many = fixed.points.shape[1]
    of_points, of_vectors = weights[:, :many, None], weights[:, many:, None]
    total = of_points.sum(1, keepdim=True)
    means = [(of_points * r.points).sum(1, keepdim=True) / total for r in (fixed, moving)]
    a, b = fixed.points - means[0], moving.points - means[1]
    moments = (of_points * b).mT @ a + (of_vectors * moving.vectors).mT @ fixed.vectors
    rotation = nearest_rotation(moments)
    translation = (means[1] - means[0] @ rotation.mT)[:, 0]
    left = [
        (w * (y - x @ rotation.mT).square()).sum((1, 2))
        / (w * (x.square() + y.square())).sum((1, 2))
        for w, x, y in ((of_points, a, b), (of_vectors, fixed.vectors, moving.vectors))
    ]
    stretch = torch.linalg.eigvalsh(_symmetric(rotation.mT @ moments.detach()))
    gap = (stretch[:, 0] + stretch[:, 1]) / stretch.sum(-1)  # 0: a turn changes nothing
    evidence = torch.stack([*left, gap], dim=-1).clamp(min=1e-6).log()
    return Alignment(rigid.from_rotation(rotation, translation), evidence)


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.mT) / 2


def nearest_rotation(moments: Tensor) -> Tensor:
    """The rotations R that maximise ``tr(Rᵀ H)``, ``(B, 3, 3)``; differentiable at any H."""
    return _NearestRotation.apply(moments)


class _NearestRotation(torch.autograd.Function):
    """By singular values; the gradient by the symmetric part of ``Rᵀ H``, finite where they agree.

    Where R changes by ``R [ω]``, ``(tr(P) - P) ω = vex(Rᵀ dH - dHᵀ R)`` with ``P = Rᵀ H``.
    """

    @staticmethod
    def forward(ctx: Any, moments: Tensor) -> Tensor:
        u, _, vh = torch.linalg.svd(moments)
        sign = torch.ones_like(moments[:, 0])
        sign[:, 2] = torch.linalg.det(u @ vh).sign()
        rotation = (u * sign[:, None]) @ vh
        ctx.save_for_backward(rotation, moments)
        return rotation

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        rotation, moments = ctx.saved_tensors
        stretch = _symmetric(rotation.mT @ moments)
        trace = stretch.diagonal(dim1=1, dim2=2).sum(-1)[:, None, None]
        eye = torch.eye(3, dtype=stretch.dtype, device=stretch.device)
        system = trace * eye - stretch + 1e-4 * trace.abs().clamp(min=1e-12) * eye
        pulled = rotation.mT @ gradients[0]
        turn = torch.linalg.solve(system, _vex(pulled - pulled.mT))
        return rotation @ rigid.cross_matrix(turn)


def _vex(skew: Tensor) -> Tensor:
    return torch.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], dim=-1)


def slerp(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Poses on the way: rotations along the shortest arc, translations along the line."""
    turn = rigid.rotation_vector(one[:, :3, :3].mT @ other[:, :3, :3])
    rotation = one[:, :3, :3] @ rigid.rotation_matrix(share * turn)
    translation = (1 - share) * one[:, :3, 3] + share * other[:, :3, 3]
    return rigid.from_rotation(rotation, translation)

"""Smooth motion through uncertain poses: a head that wanders by chance, and keeps some velocity.

Place and turn of the head are the sum of a random walk and of a motion whose velocity is forgotten
with time (Singer's model). The most likely way through T poses is what a Kalman filter and a
Rauch-Tung-Striebel smoother arrive at; here it is one linear system of T unknowns for each of the
six numbers. Times without a pose, in a gap or ahead, are unknowns like the others: by a random walk
alone, the way leads evenly through a gap, and rests ahead. Poses far from the way count less
(Student's t).

A turn of the world or of the head's space turns the answer: all axes have the same matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unimo_bids.spatial import rigid

_ROUNDS = 5  # of weights and linearisation: the way then moves by less than .01 mm
_NEIGHBOURS_S = 4.0  # width of the local mean that the first round starts from
_LITTLE = 1e-6


@dataclass(frozen=True)
class Prior:
    """What is believed before any pose is seen.

    Attributes
    ----------
    chance
        Variance by which the turn and the shift grow per second, mm²/s; turns at the head's radius.
    speed
        Variance of the velocities that are kept, of turn and shift, (mm/s)².
    memory
        Seconds after which such a velocity is forgotten (to 1/e).
    tail
        Degrees of freedom of Student's t; fewer: poses are believed less blindly.
    """

    chance: tuple[float, float]
    speed: tuple[float, float]
    memory: float
    tail: float


@dataclass(frozen=True)
class Way:
    """The smooth way at N times.

    Attributes
    ----------
    rotation, place
        ``(B, N, 3, 3)`` and ``(B, N, 3)`` mm: the head's turn, and where its centre is.
    deviation
        ``(B, N, 2)`` mm, of the turn (at the head's radius) and of the place, along each axis.
    share
        ``(B, N, 2)`` 0 … 1, how far each pose was believed.
    """

    rotation: Tensor
    place: Tensor
    deviation: Tensor
    share: Tensor


def smooth(
    rotation: Tensor, place: Tensor, deviation: Tensor, times: Tensor, radius: Tensor, prior: Prior
) -> Way:
    """The most likely way through poses.

    Parameters
    ----------
    rotation, place
        ``(B, N, 3, 3)`` and ``(B, N, 3)`` as measured.
    deviation
        ``(B, N, 2)`` mm of the turn (at the head's radius) and of the place; huge: not measured.
    times
        ``(B, N)`` s, ascending.
    radius
        ``(B,)`` mm.
    """
    believed = deviation.square().reciprocal()
    stiff = [_stiffness(times, prior, k) for k in (0, 1)]
    share = torch.ones_like(believed)
    of_turn, of_place = _local_mean(times, believed)
    turned = rigid.nearest_rotation((of_turn @ rotation.flatten(2)).unflatten(2, (3, 3)))
    moved = of_place @ place
    scale = radius[:, None, None]
    for last in [*[False] * (_ROUNDS - 1), True]:
        away = _turn(turned, rotation) * scale, place - moved
        share = torch.stack(
            [_share(one, believed[..., k], prior.tail) for k, one in enumerate(away)], dim=-1
        )
        steps = _turn(turned[:, :-1], turned[:, 1:]) * scale, moved.diff(dim=1)
        found = [
            _solved(believed[..., k] * share[..., k], away[k], steps[k], stiff[k], last)
            for k in (0, 1)
        ]
        turned = turned @ rigid.rotation_matrix(found[0][0] / scale)
        moved = moved + found[1][0]
    return Way(turned, moved, torch.stack([one[1] for one in found], dim=-1).sqrt(), share)


def _turn(one: Tensor, other: Tensor) -> Tensor:
    return rigid.rotation_vector(one.mT @ other)


def _share(off: Tensor, believed: Tensor, tail: float) -> Tensor:
    """Weight of a residual of three numbers under Student's t, at most that of a small one."""
    return (tail + 3) / (tail + off.square().sum(-1) * believed).clamp(min=tail) * tail / (tail + 3)


def _local_mean(times: Tensor, believed: Tensor) -> tuple[Tensor, Tensor]:
    """Weights ``(B, N, N)`` that make means of neighbours, of the turn and of the place."""
    near = -(times[:, :, None] - times[:, None]).abs() / _NEIGHBOURS_S
    both = [(near + (one[:, None] + 1e-30).log()).softmax(-1) for one in believed.unbind(-1)]
    return both[0], both[1]


def _stiffness(times: Tensor, prior: Prior, k: int) -> tuple[Tensor, Tensor]:
    """What resists steps: ``Dᵀ C⁻¹`` and ``Dᵀ C⁻¹ D``, D first differences, C their covariance."""
    differences = torch.eye(times.shape[1]).to(times).diff(dim=0)
    covariance = _covariance_of_steps(times, prior.chance[k], prior.speed[k], prior.memory)
    pull = torch.linalg.solve(covariance, differences.expand(len(times), -1, -1)).mT
    return pull, pull @ differences


def _covariance_of_steps(times: Tensor, chance: float, speed: float, memory: float) -> Tensor:
    """Of all steps ``(B, N - 1, N - 1)`` along one axis.

    Velocities t apart have the covariance speed · exp(-t / memory); steps are their integrals.
    """
    step = times.diff(dim=1)
    kept = -torch.expm1(-step / memory)
    apart = times[:, None, :-1] - times[:, 1:, None]  # from the end of one to the begin of another
    later = (-apart.clamp(min=0) / memory).exp() * kept[:, :, None] * kept[:, None]
    later = (speed * memory**2 * later).triu(diagonal=1)
    own = chance * step + 2 * speed * memory * (step - memory * kept)
    return later + later.mT + torch.diag_embed(own)


def _solved(
    weights: Tensor, away: Tensor, steps: Tensor, stiff: tuple[Tensor, Tensor], last: bool
) -> tuple[Tensor, Tensor]:
    """The step ``(B, N, 3)`` to the most likely way; in the end the variance ``(B, N)`` there."""
    pull, stiffness = stiff
    right = weights[..., None] * away - pull @ steps
    factor = torch.linalg.cholesky(torch.diag_embed(weights + _LITTLE) + stiffness)
    variance = torch.cholesky_inverse(factor).diagonal(dim1=1, dim2=2) if last else weights
    return torch.cholesky_solve(right, factor), variance

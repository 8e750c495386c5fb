"""Smooth motion through uncertain poses: a head that keeps its velocity unless it is pushed.

Velocity is a random walk in continuous time, for the place of the head's centre and for its turn.
The most likely way through T poses is what a Kalman filter and a Rauch-Tung-Striebel smoother
arrive at; here it is one linear system of T unknowns for each of the six numbers, the smoothing
spline's. Times without a pose, in a gap or ahead, are unknowns like the others. Poses far from the
way count less (Student's t).

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
    turn, shift
        Variance by which velocity grows, per second: (mm/s)²/s, turns in mm at the head's radius.
    tail
        Degrees of freedom of Student's t; fewer: poses are believed less blindly.
    """

    turn: float
    shift: float
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
    spline = _spline(times)
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
            _solved(believed[..., k] * share[..., k], away[k], steps[k], spline, strength, last)
            for k, strength in enumerate((prior.turn, prior.shift))
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


@dataclass(frozen=True)
class _Spline:
    """``(B, N - 1)`` s, ``(B, N - 2, N)`` and ``(B, N, N)``."""

    step: Tensor
    pull: Tensor
    stiffness: Tensor


def _spline(times: Tensor) -> _Spline:
    """What resists changes of velocity: second differences D, and ``Dᵀ C⁻¹ D``.

    C is the covariance of a random walk's second differences.
    """
    step = times.diff(dim=1)
    many = times.shape[1]
    eye = torch.eye(many).to(times).expand(len(times), many, many)
    differences = (eye.diff(dim=1) / step[..., None]).diff(dim=1)
    diagonal = torch.diag_embed((step[:, :-1] + step[:, 1:]) / 3)
    beside = torch.diag_embed(step[:, 1:-1] / 6, offset=1)
    pull = torch.linalg.solve(diagonal + beside + beside.mT, differences)
    return _Spline(step, pull, differences.mT @ pull)


def _solved(
    weights: Tensor, away: Tensor, steps: Tensor, spline: _Spline, strength: float, last: bool
) -> tuple[Tensor, Tensor]:
    """The step ``(B, N, 3)`` to the most likely way; in the end the variance ``(B, N)`` there."""
    pushes = (steps / spline.step[..., None]).diff(dim=1)
    right = weights[..., None] * away - spline.pull.mT @ pushes / strength
    system = torch.diag_embed(weights + _LITTLE) + spline.stiffness / strength
    factor = torch.linalg.cholesky(system)
    variance = torch.cholesky_inverse(factor).diagonal(dim1=1, dim2=2) if last else weights
    return torch.cholesky_solve(right, factor), variance

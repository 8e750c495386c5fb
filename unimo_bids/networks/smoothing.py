"""Smooth motion through uncertain poses: a head that wanders by chance, and keeps some velocity.

Place and turn of the head are the sum of a random walk and of a motion whose velocity is forgotten
with time (Singer's model). The most likely way through T poses is what a Kalman filter and a
Rauch-Tung-Striebel smoother arrive at; here it is one linear system of T unknowns for each of the
six numbers. Times without a pose, in a gap or ahead, are unknowns like the others: by a random walk
alone, the way leads evenly through a gap, and rests ahead. Poses far from the way count less
(Student's t). Heads are more or less restless than usual: by which factor, turning and shifting,
is what makes the poses most likely (Laplace's approximation), so that jumps of a restless head do
not pass for poses that are wrong.

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
# factors of the variance of all steps that are tried, and how far from 1 they are expected to be
_RESTLESS = (0.04, 0.2, 1.0, 5.0, 25.0, 125.0, 1e4)
_DECADES = 1.0


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
    """The most likely way through poses, by a head as restless as they are best explained by.

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
    batch = len(times)
    restless = torch.tensor(_RESTLESS).to(times)
    each = [
        one.repeat(len(restless), *[1] * (one.ndim - 1))
        for one in (rotation, place, deviation, radius)
    ]
    ways, evidence = _smooth_as(
        each[0], each[1], each[2], times, each[3], prior, restless.repeat_interleave(batch)
    )
    expected = -0.5 * (restless.log10() / _DECADES).square()
    best = (evidence.unflatten(0, (-1, batch)) + expected[:, None, None]).argmax(0)
    of_turn, of_place = (best * batch + torch.arange(batch, device=best.device)[:, None]).unbind(-1)
    deviation, share = (
        torch.stack([one[of_turn, :, 0], one[of_place, :, 1]], dim=-1)
        for one in (ways.deviation, ways.share)
    )
    return Way(ways.rotation[of_turn], ways.place[of_place], deviation, share)


def _smooth_as(
    rotation: Tensor,
    place: Tensor,
    deviation: Tensor,
    times: Tensor,
    radius: Tensor,
    prior: Prior,
    restless: Tensor,
) -> tuple[Way, Tensor]:
    """Ways of heads that wander `restless` ``(S B,)`` times as much as the prior says.

    Returns also the log of how likely that makes the poses ``(S B, 2)``, of turn and of place.
    """
    many = len(restless) // len(times)
    believed = deviation.square().reciprocal()
    precision = [_precision_of_steps(times, prior, k).repeat(many, 1, 1) for k in (0, 1)]
    precision = [one / restless[:, None, None] for one in precision]
    of_turn, of_place = (
        mean.repeat(many, 1, 1) for mean in _local_mean(times, believed[: len(times)])
    )
    turned = rigid.nearest_rotation((of_turn @ rotation.flatten(2)).unflatten(2, (3, 3)))
    moved = of_place @ place
    scale = radius[:, None, None]
    away = _turn(turned, rotation) * scale, place - moved
    share = torch.ones_like(believed)  # as yet: a way that is far from a jump would not believe it
    for last in [*[False] * (_ROUNDS - 1), True]:
        steps = _turn(turned[:, :-1], turned[:, 1:]) * scale, moved.diff(dim=1)
        found = [
            _solved(believed[..., k] * share[..., k], away[k], steps[k], precision[k], last)
            for k in (0, 1)
        ]
        turned = turned @ rigid.rotation_matrix(found[0][0] / scale)
        moved = moved + found[1][0]
        away = _turn(turned, rotation) * scale, place - moved
        share = torch.stack([_share(away[k], believed[..., k], prior.tail) for k in (0, 1)], dim=-1)
    evidence = [_explained(away[k], believed[..., k], prior.tail) - found[k][2] for k in (0, 1)]
    deviation = torch.stack([one[1] for one in found], dim=-1).sqrt()
    return Way(turned, moved, deviation, share), torch.stack(evidence, dim=-1)


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


def _explained(off: Tensor, believed: Tensor, tail: float) -> Tensor:
    """Log-likelihood ``(B,)`` of residuals under Student's t, but for what is always the same."""
    square = off.square().sum(-1) * believed
    return -(tail + 3) / 2 * (square / tail).log1p().sum(-1)


def _precision_of_steps(times: Tensor, prior: Prior, k: int) -> Tensor:
    """What resists steps, ``(B, N - 1, N - 1)``: the inverse of their covariance."""
    return torch.linalg.inv(
        _covariance_of_steps(times, prior.chance[k], prior.speed[k], prior.memory)
    )


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
    weights: Tensor, away: Tensor, steps: Tensor, precision: Tensor, last: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The step ``(B, N, 3)`` to the most likely way; in the end the variance ``(B, N)`` there.

    Then also, as Laplace has it, what a way like this costs ``(B,)``: its steps, and how few other
    ways are about as likely.
    """
    differences = torch.eye(weights.shape[1]).to(steps).diff(dim=0)
    pull = precision @ steps
    right = weights[..., None] * away - differences.mT @ pull
    stiffness = differences.mT @ precision @ differences
    factor = torch.linalg.cholesky(torch.diag_embed(weights + _LITTLE) + stiffness)
    step = torch.cholesky_solve(right, factor)
    if not last:
        return step, weights, weights
    variance = torch.cholesky_inverse(factor).diagonal(dim1=1, dim2=2)
    volume = factor.diagonal(dim1=1, dim2=2).log().sum(-1)  # half of the determinant's
    cost = 0.5 * (steps * pull).sum((1, 2)) + 3 * volume - 1.5 * torch.logdet(precision)
    return step, variance, cost

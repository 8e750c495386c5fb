"""Recipe of the sequence model: series that the pose network has watched (`sequences`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.networks.alignment import Representation
from unimo_bids.networks.measuring import DISAGREEMENT, EVIDENCE, measure
from unimo_bids.networks.temporal import (
    Answer,
    Known,
    TemporalNetwork,
    typical,
)
from unimo_bids.registration.pose_finder import pose_network
from unimo_bids.spatial import rigid
from unimo_bids.training.scanner import Random
from unimo_bids.training.sequences import Watched

_LENGTHS = (12, 24, 36, 48)  # of the windows that are drawn
_REFERENCES = 4  # that poses of a series are judged by
_REGISTERED = 0.35  # of the series: as after registration, with gaps
_LENT = 0.5  # of the others: measured as frames of another series are
_APART = 6  # every so many series, one is kept to calibrate
_TAIL = 4.0  # of Student's t that says how far off answers are
_OF_FRAMES = (
    *("rotation", "place", "evidence", "disagreement", "direct_rotation", "direct_place"),
    *("true_rotation", "true_place", "times"),
)


@dataclass(frozen=True)
class Track:
    """A series, measured: what `Known` holds of T frames, without a batch, and the truth.

    Attributes
    ----------
    rotation, place, evidence, disagreement, times
        As of `Known`.
    direct_rotation, direct_place
        As the network has them without the other frames, from the reference.
    true_rotation, true_place
        ``(T, 3, 3)`` and ``(T, 3)`` of the same space of the head.
    watched
        Whether the network has seen it; else the measurements are the truth.
    """

    rotation: Tensor
    place: Tensor
    evidence: Tensor
    disagreement: Tensor
    direct_rotation: Tensor
    direct_place: Tensor
    true_rotation: Tensor
    true_place: Tensor
    times: Tensor
    reference: int
    radius: float
    watched: bool
    kind: str
    name: str


def tracks(series: Sequence[Watched]) -> list[Track]:
    """Measure all series."""
    share = float(pose_network("cpu").information()[1].detach())
    return [_track(one, share) for one in series]


def _track(one: Watched, share: float) -> Track:
    poses, times = torch.from_numpy(one.poses), torch.from_numpy(one.times)
    many = len(poses)
    if one.points.shape[1] == 0:
        rotation, place = poses[:, :3, :3], poses[:, :3, 3]
        nothing = torch.zeros(many, EVIDENCE).double(), torch.zeros(many, DISAGREEMENT, 3).double()
        way = rotation, place
        return Track(
            *way, *nothing, *way, *way, times, many // 2, one.radius, False, one.kind, one.name
        )
    looks = Representation(*(torch.from_numpy(a) for a in (one.points, one.vectors, one.weights)))
    reference = one.reference
    found = measure(looks, reference, one.radius, share)
    truth = poses @ same_space(rigid.inverse(poses) @ found.poses, found.center)
    rotation, place = about(found.poses, found.center)
    return Track(
        rotation,
        place,
        found.evidence,
        found.disagreement,
        *about(found.direct, found.center),
        *about(truth, found.center),
        times,
        reference,
        one.radius,
        True,
        one.kind,
        one.name,
    )


def about(poses: Tensor, center: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations, and places of the centre."""
    return poses[..., :3, :3], rigid.transform(poses, center[None])[..., 0, :]


def same_space(between: Tensor, center: Tensor) -> Tensor:
    """Robust mean ``(4, 4)`` of what should be one pose, ``(T, 4, 4)``."""
    rotation, place = about(between, center)
    mean, middle = rigid.nearest_rotation(rotation.mean(0)), place.median(0).values
    for _ in range(10):
        off = rigid.rotation_vector(mean.mT @ rotation)
        weights = 1 / off.norm(dim=-1).clamp(min=1e-4)
        turn = (weights[:, None] * off).sum(0) / weights.sum()
        mean = mean @ rigid.rotation_matrix(turn)
        weights = 1 / (place - middle).norm(dim=-1).clamp(min=1e-2)
        middle = (weights[:, None] * place).sum(0) / weights.sum()
    return rigid.from_rotation(mean, middle - mean @ center)


@dataclass(frozen=True)
class Drawn:
    """A batch: what is known, and the truth, ``(B, N, 3, 3)`` and ``(B, N, 3)``."""

    known: Known
    rotation: Tensor
    place: Tensor


@dataclass(frozen=True)
class Ground:
    """Series to train on, and others to calibrate by."""

    drawn: list[Track]
    apart: list[Track]


def make_ground(series: Sequence[Watched], device: str) -> Ground:
    """All series, measured; the model is so small that it stays on the CPU."""
    every = tracks(series)
    apart = every[_APART - 1 :: _APART]
    return Ground([one for one in every if all(one is not other for other in apart)], apart)


def draw(ground: Ground, batch: int, rng: Random) -> Drawn:
    """Parts of series, sped up, slowed down, backwards, mirrored; frames missing."""
    return draw_from(ground.drawn, batch, rng)


def draw_from(ground: Sequence[Track], batch: int, rng: Random) -> Drawn:
    """Windows of series, of one length."""
    many = int(rng.choice(_LENGTHS))
    long = [one for one in ground if len(one.times) >= many]
    watched = [one for one in long if one.watched]
    parts = []
    for _ in range(batch):
        registered, lent = rng.random() < _REGISTERED, rng.random() < _LENT
        among = long if registered or lent or not watched else watched
        one = among[int(rng.integers(len(among)))]
        every = 2 if rng.random() < 0.25 and len(one.times) >= 2 * many else 1
        start = int(rng.integers(len(one.times) - every * many + 1))
        one = part(one, start + every * np.arange(many))
        donors = [d for d in ground if d.watched and d.kind == one.kind]
        if donors and not registered and (lent or not one.watched):
            one = borrowed(one, donors[int(rng.integers(len(donors)))], rng)
        parts.append(_varied(one, registered, rng))
    return collated(parts)


def part(one: Track, chosen: NDArray[np.int_]) -> Track:
    """Some frames of a series."""
    every = {name: getattr(one, name)[chosen] for name in _OF_FRAMES}
    return replace(one, **every, reference=len(chosen) // 2)


def borrowed(one: Track, donor: Track, rng: Random) -> Track:
    """A series with the measurement errors of randomly chosen frames of another one."""
    many = len(one.times)
    chosen = rng.integers(len(donor.times), size=many)
    turn, shift = errors(donor)[chosen].unbind(1)
    scale = one.radius / donor.radius
    rotation = one.true_rotation @ rigid.rotation_matrix(-turn / donor.radius)
    place = one.true_place - scale * (rotation @ shift[..., None])[..., 0]
    return replace(
        one,
        rotation=rotation,
        place=place,
        evidence=donor.evidence[chosen],
        disagreement=scale * donor.disagreement[chosen],
        direct_rotation=rotation,
        direct_place=place,
        watched=True,
    )


def errors(one: Track) -> Tensor:
    """How far measurements are off, turn and shift ``(T, 2, 3)`` mm, in the head's space."""
    turn = one.radius * rigid.rotation_vector(one.rotation.mT @ one.true_rotation)
    shift = (one.rotation.mT @ (one.true_place - one.place)[..., None])[..., 0]
    return torch.stack([turn, shift], dim=1)


def collated(parts: Sequence[Drawn]) -> Drawn:
    """Several as one batch."""
    names = Known.__dataclass_fields__
    known = Known(*(torch.cat([getattr(one.known, name) for one in parts]) for name in names))
    rotation, place = (
        torch.cat([getattr(one, name) for one in parts]) for name in ("rotation", "place")
    )
    return Drawn(known, rotation, place)


def _varied(one: Track, registered: bool, rng: Random) -> Drawn:
    many = len(one.times)
    chosen = np.arange(many)
    times = one.times * float(np.exp(rng.uniform(np.log(0.6), np.log(1.6))))
    if rng.random() < 0.5:
        chosen, times = chosen[::-1].copy(), (times[-1] - times).flip(0)
    mirror = torch.diag(torch.tensor([-1.0 if rng.random() < 0.5 else 1.0, 1, 1]).double())
    rotation, true_rotation = (
        mirror @ r[chosen] @ mirror for r in (one.rotation, one.true_rotation)
    )
    place, true_place = (p[chosen] @ mirror for p in (one.place, one.true_place))
    axial = torch.linalg.det(mirror) * mirror
    apart = one.disagreement[chosen]
    disagreement = torch.stack([apart[:, 0] @ axial, apart[:, 1] @ mirror], dim=1)
    evidence, deviation = one.evidence[chosen], torch.zeros(many, 2).double()
    lost = torch.from_numpy(missing(rng, many))
    if registered:
        usual = np.exp(rng.uniform(np.log(0.02), np.log(0.5)))
        sizes = usual * np.exp(0.4 * rng.standard_normal(2))
        own = torch.as_tensor(sizes * np.exp(0.3 * rng.standard_normal((many, 2))))
        found = off_by(true_rotation, true_place, own, one.radius, rng)
        rough = lost[:, None] & torch.tensor(one.watched and rng.random() < 0.5)
        rotation = torch.where(rough[..., None], rotation, found[0])
        place = torch.where(rough, place, found[1])
        deviation = torch.where(rough, 0.0, own)
        evidence, disagreement = evidence * rough, disagreement * rough[..., None]
        lost = lost & ~rough[:, 0]
    known = Known(
        rotation, place, evidence, disagreement, deviation, ~lost, times, torch.tensor(one.radius)
    )
    names = Known.__dataclass_fields__
    known = Known(*(getattr(known, name)[None] for name in names))
    return Drawn(known, true_rotation[None], true_place[None])


def missing(rng: Random, many: int) -> np.ndarray:
    """Which of some frames are lost ``(N,)``: single ones, gaps, the last ones."""
    lost = rng.random(many) < rng.choice([0.0, 0.03, 0.1])
    for _ in range(int(rng.integers(0, 1 + many // 12))):
        start = int(rng.integers(1, many - 1))
        lost[start : start + int(rng.integers(1, 5))] = True
    lost[many - 1] = False
    if rng.random() < 0.4:
        lost[-int(rng.integers(1, 3)) :] = True
    if lost.sum() > many - 4:
        lost[:] = False
    return lost


def off_by(
    rotation: Tensor, place: Tensor, deviation: Tensor, radius: float, rng: Random
) -> tuple[Tensor, Tensor]:
    """Poses as if measured with a deviation ``(N, 2)``, with a tail."""
    noise = torch.as_tensor(rng.standard_t(5, (len(rotation), 2, 3)) / np.sqrt(5 / 3))
    turn, shift = (deviation[..., None] * noise).unbind(1)
    turned = rotation @ rigid.rotation_matrix(turn / radius)
    return turned, place + (rotation @ shift[..., None])[..., 0]


def off(rotation: Tensor, place: Tensor, drawn: Drawn) -> Tensor:
    """How far poses are off, turn and shift ``(B, N, 2, 3)`` mm, in the head's space."""
    turn = rigid.rotation_vector(rotation.mT @ drawn.rotation)
    turn = turn * drawn.known.radius[:, None, None]
    shift = (rotation.mT @ (drawn.place - place)[..., None])[..., 0]
    return torch.stack([turn, shift], dim=2).float()


def displacement(errors: Tensor) -> Tensor:
    """Root mean square displacement of a ball as large as the head, mm, by errors ``(…, 2, 3)``."""
    return square_displacement(errors).sqrt()


def square_displacement(errors: Tensor) -> Tensor:
    """The mean square of the same; that of a turn of 1 at its radius is 0.4."""
    turn, shift = errors.square().sum(-1).unbind(-1)
    return 0.4 * turn + shift


def losses(network: TemporalNetwork, drawn: Drawn) -> dict[str, Tensor]:
    """How far answers are off, relative to several references, and how well they know."""
    known = drawn.known
    answer: Answer = network(known)
    measured = known.measured & (known.deviation[..., 0] == 0)
    by_evidence = network.precision(known.evidence, known.radius)
    of_measured = _surprise(off(known.rotation, known.place, drawn), by_evidence.square())
    precision = (of_measured * measured).sum() / measured.sum().clamp(min=1)
    scale = typical(network.deviations(known).detach(), known.measured).clamp(min=0.1)
    away = off(answer.rotation, answer.place, drawn).clamp(-60, 60)
    lengths, surprise = [], []
    for _ in range(_REFERENCES):
        chosen = torch.multinomial(known.measured.float(), 1)[:, 0]
        rows = torch.arange(len(chosen))
        relative = away - away[rows, chosen][:, None]
        length = (square_displacement(relative) + (0.05 * scale[:, None]).square()).sqrt()
        lengths.append((length / scale[:, None].sqrt()).mean())
        variance = answer.deviation.square()
        variance = variance + variance[rows, chosen][:, None]
        surprise.append(_surprise(relative.detach(), variance).mean())
    return {
        "displacement": torch.stack(lengths).mean(),
        "surprise": 0.1 * torch.stack(surprise).mean(),
        "precision": 0.1 * precision,
    }


def _surprise(errors: Tensor, variance: Tensor) -> Tensor:
    """Negative log-likelihood ``(B, N)`` of errors ``(B, N, 2, 3)`` under Student's t."""
    variance = variance.clamp(min=1e-6)
    square = errors.square() / variance[..., None]
    each = 0.5 * variance.log()[..., None] + 0.5 * (_TAIL + 1) * (square / _TAIL).log1p()
    return each.sum((2, 3))

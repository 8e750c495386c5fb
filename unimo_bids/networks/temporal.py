"""Where a head was at any time, from what is known of it at all times: attention through a series.

Every frame is a token: how its pose differs from a smooth way through all of them (`smoothing`),
how far that is to be believed, and when it was taken, in seconds. Times at which nothing was seen,
in a gap, between frames or ahead, are tokens too. Attention over the series then corrects the way,
and says how well each answer is known.

A token has numbers, which no turn changes, and vectors, which turn with the head's space; vectors
are only ever added, scaled by numbers and multiplied with each other. So a turn of the head's space
turns the answer, and a turn or shift of the world carries the way, from which all is measured, with
it: by construction, whatever the weights.

All lengths are mm; turns are at the head's radius.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm

from unimo_bids.networks.measuring import DISAGREEMENT, EVIDENCE
from unimo_bids.networks.smoothing import Prior, Way, smooth
from unimo_bids.spatial import rigid
from unimo_bids.words import AttentionPart

WINDOW, OVERLAP = 600, 120  # frames that attend to each other; longer series in parts

_NUMBERS, _VECTORS, _HEADS = 64, 16, 4
_INTO_NUMBERS, _INTO_VECTORS = EVIDENCE + 16, DISAGREEMENT + 6
_SCALES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)  # of the time between two tokens
_REACH = 8.0  # typical deviations: what is further off is just wrong
_NEVER = 1e4  # mm, deviation of what was not measured


@dataclass(frozen=True)
class Known:
    """What is known at N times of B series; the head's space is that of the answer.

    Attributes
    ----------
    rotation, place
        ``(B, N, 3, 3)`` and ``(B, N, 3)`` float64: measured turns, and places of the head's centre.
    evidence, disagreement
        ``(B, N, EVIDENCE)`` and ``(B, N, DISAGREEMENT, 3)``: see `measuring`.
    deviation
        ``(B, N, 2)`` of turn and place, along each axis, where it is known otherwise than by the
        evidence: of a registration; else 0.
    measured
        ``(B, N)`` bool, where anything was.
    times
        ``(B, N)`` s, ascending.
    radius
        ``(B,)``
    """

    rotation: Tensor
    place: Tensor
    evidence: Tensor
    disagreement: Tensor
    deviation: Tensor
    measured: Tensor
    times: Tensor
    radius: Tensor

    def part(self, which: slice) -> Known:
        """Only some of the times."""
        names = [one.name for one in fields(self) if one.name != "radius"]
        return replace(self, **{name: getattr(self, name)[:, which] for name in names})


@dataclass(frozen=True)
class Answer:
    """Where the head was at N times of B series.

    Attributes
    ----------
    rotation, place
        ``(B, N, 3, 3)`` and ``(B, N, 3)`` float64.
    deviation
        ``(B, N, 2)`` of turn and place, along each axis.
    way
        What attention started from.
    correction
        ``(B, N, 2, 3)`` turn and shift that attention added, in the head's space.
    """

    rotation: Tensor
    place: Tensor
    deviation: Tensor
    way: Way
    correction: Tensor


class Precision(nn.Module):
    """How far a measurement is off, from its evidence."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(EVIDENCE, 24), nn.GELU(), nn.Linear(24, 2))

    def forward(self, evidence: Tensor, radius: Tensor) -> Tensor:
        """Deviation ``(B, N, 2)`` along each axis."""
        relative = self.layers((evidence.float() + 4) / 3).clamp(-8, 2).exp() * 0.02
        out: Tensor = relative * radius[:, None, None].to(relative)
        return out


class _Layer(nn.Module):
    """Attention, then each token for itself; numbers and vectors side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = nn.Linear(_NUMBERS, 3 * _NUMBERS)
        self.vectors = nn.Linear(_VECTORS, 3 * _VECTORS, bias=False)
        self.when = nn.Sequential(
            nn.Linear(2 * len(_SCALES_S), 24), nn.GELU(), nn.Linear(24, _HEADS)
        )
        self.mixed = nn.Linear(_NUMBERS, _NUMBERS)
        self.turned = nn.Linear(_VECTORS, _VECTORS, bias=False)
        self.wide = nn.Linear(_NUMBERS + 2 * _VECTORS, 2 * _NUMBERS)
        self.narrow = nn.Linear(2 * _NUMBERS, _NUMBERS + _VECTORS)
        self.first = nn.Linear(_VECTORS, _VECTORS, bias=False)
        self.second = nn.Linear(_VECTORS, _VECTORS, bias=False)

    def forward(
        self, numbers: Tensor, vectors: Tensor, apart: Tensor, others: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Numbers ``(B, N, C)`` and vectors ``(B, N, C, 3)`` after one more look around.

        Of two times, ``(B, N, N, F)`` says how they are apart, and ``(N, N)`` adds to attention.
        """
        batch, many = numbers.shape[:2]
        split = (batch, many, 3, _HEADS, -1)
        query, key, value = self.numbers(_normed(numbers)).reshape(split).unbind(2)
        turned = _mixed(self.vectors, _shortened(vectors)).reshape(
            *split[:4], 3 * _VECTORS // _HEADS
        )
        along, across, carried = turned.unbind(2)
        query = torch.cat([query, along], dim=-1).transpose(1, 2)
        key = torch.cat([key, across], dim=-1).transpose(1, 2)
        value = torch.cat([value, carried], dim=-1).transpose(1, 2)
        near = self.when(apart).permute(0, 3, 1, 2)
        share = (query @ key.mT / query.shape[-1] ** 0.5 + near + others).softmax(-1)
        found = (share @ value).transpose(1, 2)
        of_numbers, of_vectors = found.split([_NUMBERS // _HEADS, 3 * _VECTORS // _HEADS], dim=-1)
        numbers = numbers + self.mixed(of_numbers.flatten(2))
        vectors = vectors + _mixed(self.turned, of_vectors.reshape(batch, many, _VECTORS, 3))
        one, other = (_mixed(layer, _shortened(vectors)) for layer in (self.first, self.second))
        lengths = torch.cat([(one * other).sum(-1), one.square().sum(-1)], dim=-1)
        hidden = gelu(self.wide(torch.cat([_normed(numbers), lengths], dim=-1)))
        change, gates = self.narrow(hidden).split([_NUMBERS, _VECTORS], dim=-1)
        return numbers + change, vectors + gates[..., None] * one


def _mixed(layer: nn.Linear, vectors: Tensor) -> Tensor:
    """A linear map of channels, the same along every axis."""
    out: Tensor = layer(vectors.mT).mT
    return out


def _normed(numbers: Tensor) -> Tensor:
    return layer_norm(numbers, numbers.shape[-1:])


def _shortened(vectors: Tensor) -> Tensor:
    length = vectors.square().sum(-1, keepdim=True).clamp(min=1e-12).sqrt()
    return vectors / (1 + length / _REACH)


class TemporalNetwork(nn.Module):
    """A smooth way through a series, corrected by attention.

    Parameters
    ----------
    without
        The time between tokens; attention: each token is then by itself; or the future: each answer
        then draws on what was known by its time, and no more.
    """

    prior: Tensor
    worth: Tensor
    calibration: Tensor

    def __init__(self, layers: int = 3, *, without: Collection[AttentionPart] = ()) -> None:
        super().__init__()
        self.without = without
        self.precision = Precision()
        self.into_numbers = nn.Linear(_INTO_NUMBERS, _NUMBERS)
        self.into_vectors = nn.Linear(_INTO_VECTORS, _VECTORS, bias=False)
        self.layers = nn.ModuleList(_Layer() for _ in range(layers))
        self.out_vectors = nn.Linear(_VECTORS, 2, bias=False)
        self.out_numbers = nn.Linear(_NUMBERS, 4)
        nn.init.zeros_(self.out_vectors.weight)
        nn.init.zeros_(self.out_numbers.weight)
        nn.init.zeros_(self.out_numbers.bias)
        # of the smooth way (chance, speed, memory, tail): tuned on what is trained on
        self.register_buffer("prior", torch.tensor([3.0, 10.0, 0.3, 1.0, 5.0, 3.0]))
        # of series seen by the pose network, then of registered ones; at measured frames, in gaps,
        # ahead: how much of the correction is kept; and of the answers' deviations, turn and shift
        self.register_buffer("worth", torch.ones(2, 3))
        self.register_buffer("calibration", torch.ones(2, 3, 2))

    def deviations(self, known: Known) -> Tensor:
        """Of all measurements ``(B, N, 2)``, along each axis."""
        by_evidence = self.precision(known.evidence, known.radius)
        return torch.where(known.deviation > 0, known.deviation.to(by_evidence), by_evidence)

    def forward(self, known: Known) -> Answer:
        """Where the head was, in one window."""
        deviation = self.deviations(known).detach()
        deviation = torch.where(known.measured[..., None], deviation, _NEVER)
        causal = "future" in self.without
        way = self._way_so_far(known, deviation) if causal else self.smooth_way(known, deviation)
        scale = typical_so_far(deviation, known.measured)
        if not causal:
            scale = typical(deviation, known.measured)[:, None].expand_as(scale)
        numbers, vectors = tokens(known, deviation, way, scale, onward=not causal)
        numbers, vectors = self.into_numbers(numbers), _mixed(self.into_vectors, vectors)
        apart = self._apart(known.times)
        others = torch.zeros_like(apart[0, :, :, 0])
        if "attention" in self.without:
            others = others.fill_(-torch.inf).fill_diagonal_(0.0)
        if causal:
            others = others + torch.full_like(others, -torch.inf).triu(diagonal=1)
        for layer in self.layers:
            numbers, vectors = layer(numbers, vectors, apart, others)
        change = self.out_numbers(_normed(numbers))
        correction = _mixed(self.out_vectors, vectors) * (1 + change[..., :2, None])
        where = from_registration(known)[:, None].long(), kinds(known.measured)
        correction = correction * (self.worth[where] * scale)[..., None, None]
        deviation = way.deviation.float().clamp(max=1e3) * change[..., 2:].clamp(-5, 3).exp()
        deviation = deviation * self.calibration[where]  # as errors were on series kept apart
        turn, shift = correction.double().unbind(2)
        rotation = way.rotation @ rigid.rotation_matrix(turn / known.radius[:, None, None])
        place = way.place + (way.rotation @ shift[..., None])[..., 0]
        return Answer(rotation, place, deviation, way, correction)

    def smooth_way(self, known: Known, deviation: Tensor) -> Way:
        """The most likely way by what is measured."""
        with torch.no_grad():
            return smooth(
                known.rotation,
                known.place,
                deviation.double(),
                known.times.double(),
                known.radius.double(),
                self.believed_before(),
            )

    def believed_before(self) -> Prior:
        """What the smooth way begins with."""
        of_turn, of_shift, turning, shifting, memory, tail = self.prior.tolist()
        return Prior((of_turn, of_shift), (turning, shifting), memory, tail)

    def _way_so_far(self, known: Known, deviation: Tensor) -> Way:
        """At each time, the most likely way by what was measured until then."""
        batch, many = known.times.shape
        later = torch.ones(many, many, dtype=torch.bool).triu(diagonal=1).repeat(batch, 1)
        every = Known(
            *(getattr(known, one.name).repeat_interleave(many, dim=0) for one in fields(Known))
        )
        until = deviation.repeat_interleave(many, dim=0).masked_fill(later[..., None], _NEVER)
        ways, last = self.smooth_way(every, until), torch.arange(many).repeat(batch)
        at = torch.arange(batch * many), last
        return Way(*(getattr(ways, w.name)[at].unflatten(0, (batch, many)) for w in fields(Way)))

    def _apart(self, times: Tensor) -> Tensor:
        """Of any two times, how far and which way they are apart, ``(B, N, N, F)``."""
        apart = (times[:, :, None] - times[:, None]).float()[..., None]
        apart = apart / torch.tensor(_SCALES_S).to(apart)
        out = torch.cat([apart.tanh(), (-apart.square() / 2).exp()], dim=-1)
        return torch.zeros_like(out) if "time" in self.without else out


def kinds(measured: Tensor) -> Tensor:
    """Of answers ``(B, N)``: 0 measured, 1 with measurements on both sides, 2 on one."""
    before = measured.int().cumsum(1) > 0
    after = measured.flip(1).int().cumsum(1).flip(1) > 0
    return torch.where(measured, 0, torch.where(before & after, 1, 2))


def from_registration(known: Known) -> Tensor:
    """Which series ``(B,)`` have poses whose deviation is known from a registration."""
    return (known.deviation > 0).any(-1).any(-1)


def through(network: TemporalNetwork, known: Known) -> Answer:
    """Answers for a whole series: in parts that overlap where it is longer than a window."""
    many = known.times.shape[1]
    if many <= WINDOW:
        return network(known)
    answers, kept = [], []
    stride = WINDOW - OVERLAP
    for first in range(0, many - OVERLAP, stride):
        begin = max(0, min(first, many - WINDOW))
        end = min(many, begin + WINDOW)
        answers.append(network(known.part(slice(begin, end))))
        lower = 0 if first == 0 else first + OVERLAP // 2
        upper = many if end == many else first + stride + OVERLAP // 2
        kept.append(slice(lower - begin, upper - begin))
        if end == many:
            break
    return joined(answers, kept)


def joined(answers: Sequence[Answer], kept: Sequence[slice]) -> Answer:
    """Answers for parts of a series as one."""

    def together(*parts: Tensor) -> Tensor:
        return torch.cat([part[:, keep] for part, keep in zip(parts, kept, strict=True)], dim=1)

    ways = [answer.way for answer in answers]
    way = Way(*(together(*(getattr(w, f.name) for w in ways)) for f in fields(Way)))
    rest = [
        together(*(getattr(answer, name) for answer in answers))
        for name in ("rotation", "place", "deviation", "correction")
    ]
    return Answer(rest[0], rest[1], rest[2], way, rest[3])


def typical(deviation: Tensor, measured: Tensor) -> Tensor:
    """Of a series: the geometric mean ``(B,)`` of what its measurements are off."""
    counts = measured.float()[..., None].expand_as(deviation)
    total = (counts * deviation.clamp(min=1e-3).log()).sum((1, 2))
    return (total / counts.sum((1, 2)).clamp(min=1)).exp()


def typical_so_far(deviation: Tensor, measured: Tensor) -> Tensor:
    """The same ``(B, N)`` of what was measured until each time."""
    counts = measured.float()[..., None].expand_as(deviation)
    total = (counts * deviation.clamp(min=1e-3).log()).sum(2).cumsum(1)
    return (total / counts.sum(2).cumsum(1).clamp(min=1)).exp()


def tokens(
    known: Known, deviation: Tensor, way: Way, scale: Tensor, *, onward: bool = True
) -> tuple[Tensor, Tensor]:
    """Numbers ``(B, N, ·)`` and vectors ``(B, N, ·, 3)`` of the head, by typical lengths.

    Unless `onward`, a token knows nothing of the step after it.
    """
    measured = known.measured.float()[..., None]
    by_scale = scale[..., None]
    turn = rigid.rotation_vector(way.rotation.mT @ known.rotation) * known.radius[:, None, None]
    shift = (way.rotation.mT @ (known.place - way.place)[..., None])[..., 0]
    off = torch.stack([turn, shift], dim=2).float() * measured[..., None]
    steps = known.times.diff(dim=1).float()
    usual = steps.median(dim=1).values[:, None, None]
    turns = rigid.rotation_vector(way.rotation[:, :-1].mT @ way.rotation[:, 1:])
    turns = turns * known.radius[:, None, None]
    shifts = (way.rotation[:, :-1].mT @ way.place.diff(dim=1)[..., None])[..., 0]
    moves = torch.stack([turns, shifts], dim=2).float() / steps[..., None, None] * usual[..., None]
    edge = torch.zeros_like(moves[:, :1])
    after = moves if onward else 0 * moves
    moves = torch.cat([torch.cat([edge, moves], 1), torch.cat([after, edge], 1)], dim=2)
    vectors = torch.cat([off, known.disagreement.float() * measured[..., None], moves], dim=2)
    vectors = _shortened(vectors / by_scale[..., None])
    share = way.share.float() * measured
    registered = (known.deviation[..., :1] > 0).float() * measured
    gap = torch.ones_like(steps[:, :1])
    around = torch.stack([torch.cat([gap, steps], 1), torch.cat([steps, gap], 1)], dim=-1)
    numbers = torch.cat(
        [
            known.evidence.float() / 4 * measured,
            measured,
            registered,
            share,
            (deviation.float() / by_scale).clamp(1e-3, 1e3).log() * measured,
            (way.deviation.float() / by_scale).clamp(1e-3, 1e3).log(),
            (off / by_scale[..., None]).norm(dim=-1).log1p(),
            (moves[:, :, :2] / by_scale[..., None]).norm(dim=-1).log1p(),
            around.clamp(1e-2, 1e2).log(),
            by_scale.clamp(1e-3, 1e2).log().expand_as(measured),
            usual.clamp(1e-2, 1e2).log().expand_as(measured),
        ],
        dim=-1,
    )
    return numbers, vectors

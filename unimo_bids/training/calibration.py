"""What is fitted to the sequence model at last, on series that no training saw."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from unimo_bids.networks.temporal import Answer, TemporalNetwork, from_registration, kinds
from unimo_bids.training.track import Drawn, Ground, displacement, draw_from, off

_SEED, _BATCHES = 1_000_041, 40


def calibrate(network: TemporalNetwork, ground: Ground) -> None:
    """Fit the share of a correction to keep, and the deviations' size, on series kept apart.

    Of the correction as much as leaves the least error: by chance alone nothing can be foretold. 95
    of 100 errors are then to be within 1.96 deviations.
    """
    network.worth.fill_(1.0)
    network.calibration.fill_(1.0)
    drawn = [
        draw_from(ground.apart, 8, np.random.default_rng([_SEED, number]))
        for number in range(_BATCHES)
    ]
    with torch.no_grad():
        answers = [network(one.known) for one in drawn]
    _fit_worth(network, drawn, answers)
    with torch.no_grad():
        answers = [network(one.known) for one in drawn]
    _fit_deviations(network, drawn, answers)


def _fit_worth(network: TemporalNetwork, drawn: Sequence[Drawn], answers: Sequence[Answer]) -> None:
    shares, errors = torch.linspace(0, 1, 11), []
    for one, answer in zip(drawn, answers, strict=True):
        away = off(answer.way.rotation, answer.way.place, one)
        left = away - shares[:, None, None, None, None] * answer.correction
        errors.append(displacement(left))
    for row, column, here in _wheres(drawn):
        found = torch.stack([e[:, w].sum(1) for e, w in zip(errors, here, strict=True)]).sum(0)
        network.worth[row, column] = shares[int(found.argmin())]


def _fit_deviations(
    network: TemporalNetwork, drawn: Sequence[Drawn], answers: Sequence[Answer]
) -> None:
    relative, own, its, other = [], [], [], []
    for number, (one, answer) in enumerate(zip(drawn, answers, strict=True)):
        away, measured = off(answer.rotation, answer.place, one), one.known.measured
        generator = torch.Generator().manual_seed(number)
        chosen = torch.multinomial(measured.float(), 1, generator=generator)[:, 0]
        rows = torch.arange(len(chosen))
        relative.append((away - away[rows, chosen][:, None]).abs())
        own.append(answer.deviation)
        its.append(answer.deviation[rows, chosen][:, None].expand_as(answer.deviation))
        others = torch.ones_like(measured)
        others[rows, chosen] = False
        other.append(others)
    factors = torch.logspace(-2, 2, 401)[:, None]
    for row, column, here in _wheres(drawn):  # the reference is measured: that comes first
        kept = [w & o for w, o in zip(here, other, strict=True)]
        told = [
            torch.cat([v[w] for v, w in zip(values, kept, strict=True)])
            for values in (relative, own, its)
        ]
        for k in (0, 1) if len(told[0]) else ():
            first = network.calibration[row, 0, k] if column else factors
            width = ((factors * told[1][:, k]) ** 2 + (first * told[2][:, k]) ** 2).sqrt()
            within = (told[0][:, k][None] < 1.96 * width[..., None]).float().mean((1, 2))
            enough = torch.nonzero(within >= 0.95)
            network.calibration[row, column, k] = factors[int(enough[0]) if len(enough) else -1, 0]


def _wheres(drawn: Sequence[Drawn]) -> Iterator[tuple[int, int, list[Tensor]]]:
    """Rows and columns of what is fitted, and which times ``(B, N)`` count."""
    for row, column in itertools.product((0, 1), (0, 1, 2)):
        where = [
            (kinds(one.known.measured) == column) & (from_registration(one.known) == row)[:, None]
            for one in drawn
        ]
        yield row, column, where

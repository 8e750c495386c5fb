"""How far answers of the sequence model are off on series held back, beside simpler ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.markdown import markdown_table
from unimo_bids.networks.temporal import Known, TemporalNetwork
from unimo_bids.spatial import rigid
from unimo_bids.training.calibration import calibrate
from unimo_bids.training.recipe import Recipe
from unimo_bids.training.sequences import load
from unimo_bids.training.track import (
    Drawn,
    Ground,
    Track,
    displacement,
    draw,
    losses,
    make_ground,
    off,
)

LENGTHS = (10, 16, 24, 36, 48, 96, 200)  # frames of the series that are judged
_UNKNOWN = 1e4  # mm


@dataclass(frozen=True)
class Case:
    """A series to judge by: its frames, which of them are lost, and the reference."""

    drawn: Drawn
    direct: tuple[Tensor, Tensor]
    reference: int
    track: Track


def cases(tracks: Sequence[Track], lost: Callable[[int, int], NDArray[np.bool_]]) -> list[Case]:
    """Series of all lengths around each reference; `lost` says which of so many frames, by seed."""
    out = []
    for number, one in enumerate(tracks):
        most = len(one.times)
        for length in (*[n for n in LENGTHS if n < most], most):
            start = min(max(0, one.reference - length // 2), most - length)
            gone = lost(length, number)
            gone[one.reference - start] = False
            out.append(case(one, slice(start, start + length), gone))
    return out


def case(one: Track, which: slice, gone: NDArray[np.bool_]) -> Case:
    """Part of a series, some frames of which are lost."""
    known = Known(
        one.rotation[which][None],
        one.place[which][None],
        one.evidence[which][None],
        one.disagreement[which][None],
        torch.zeros(1, len(gone), 2).double(),
        ~torch.from_numpy(gone)[None],
        one.times[which][None],
        torch.tensor([one.radius]),
    )
    drawn = Drawn(known, one.true_rotation[which][None], one.true_place[which][None])
    direct = one.direct_rotation[which][None], one.direct_place[which][None]
    return Case(drawn, direct, one.reference - which.start, one)


def relative(one: Case, rotation: Tensor, place: Tensor) -> Tensor:
    """Errors ``(N, 2, 3)`` mm of poses relative to the reference's."""
    errors = off(rotation, place, one.drawn)[0]
    return errors - errors[one.reference]


def relative_exact(one: Case, rotation: Tensor, place: Tensor) -> Tensor:
    """Errors of poses that are already relative to the reference: no small motions assumed.

    The truth and the poses are brought to the reference's own space.
    """
    r = one.reference
    truth, at = one.drawn.rotation[0], one.drawn.place[0]
    # space of the reference: its own pose is the identity, whatever the measurement of it
    own = rotation[0] @ rotation[0, r].mT, place[0]
    true = truth @ truth[r].mT
    turn = rigid.rotation_vector(own[0].mT @ true) * one.track.radius
    moved = (own[1] - own[1][r]) - (at - at[r])
    return torch.stack([turn, moved], dim=1).float()


def smoothed(network: TemporalNetwork, one: Case) -> tuple[Tensor, Tensor]:
    """The smooth way that attention starts from, with the same deviations."""
    known = one.drawn.known
    deviation = network.deviations(known).detach().double()
    deviation = torch.where(known.measured[..., None], deviation, _UNKNOWN)
    way = network.smooth_way(known, deviation)
    return way.rotation, way.place


def evenly(one: Case) -> tuple[Tensor, Tensor]:
    """Measured poses, and between them an even motion; beyond them none."""
    known = one.drawn.known
    measured = np.flatnonzero(known.measured[0].numpy())
    rotation, place = known.rotation[0].clone(), known.place[0].clone()
    for t in np.flatnonzero(~known.measured[0].numpy()):
        after = int(np.searchsorted(measured, t))
        before, following = measured[max(after - 1, 0)], measured[min(after, len(measured) - 1)]
        share = float((t - before) / max(1, following - before))
        turn = rigid.rotation_vector(rotation[before].mT @ rotation[following])
        rotation[t] = rotation[before] @ rigid.rotation_matrix(share * turn)
        place[t] = place[before] + share * (place[following] - place[before])
    return rotation[None], place[None]


def onward(one: Case) -> tuple[Tensor, Tensor]:
    """Measured poses, and after the last one its velocity kept."""
    known = one.drawn.known
    last = int(np.flatnonzero(known.measured[0].numpy())[-1])
    rotation, place = known.rotation[0].clone(), known.place[0].clone()
    turn = rigid.rotation_vector(rotation[last - 1].mT @ rotation[last])
    for t in range(last + 1, len(place)):
        rotation[t] = rotation[t - 1] @ rigid.rotation_matrix(turn)
        place[t] = place[t - 1] + place[last] - place[last - 1]
    return rotation[None], place[None]


def none_lost(many: int, seed: int) -> NDArray[np.bool_]:
    """All frames are there."""
    return np.zeros(many, dtype=bool)


def gaps(many: int, seed: int) -> NDArray[np.bool_]:
    """Gaps of one to four frames in a fifth of the series, none at its ends."""
    rng = np.random.default_rng([seed, many])
    lost = np.zeros(many, dtype=bool)
    t = int(rng.integers(2, 6))
    while t < many - 5:
        long = int(rng.integers(1, 5))
        lost[t : t + long] = True
        t += long + int(rng.integers(4, 13))
    return lost


def last_lost(many: int, seed: int) -> NDArray[np.bool_]:
    """The next frame is not there yet."""
    lost = np.zeros(many, dtype=bool)
    lost[-1] = True
    return lost


@dataclass(frozen=True)
class Judged:
    """Errors of one method: means over frames, mm, degrees and mm.

    `off`: root mean square displacement of a ball as large as the head.
    """

    way: str
    off: float
    turn_deg: float
    shift: float
    held: float


Ways = Mapping[str, Callable[[Case], Tensor]]


def ways(network: TemporalNetwork) -> dict[str, Ways]:
    """Methods that attention is compared with, for all frames, lost ones and the next one."""
    smoothing = {"smoothing": lambda one: relative(one, *smoothed(network, one))}
    return {
        "all": smoothing | {"the pose network alone": lambda one: relative_exact(one, *one.direct)},
        "lost": smoothing | {"even motion": lambda one: relative(one, *evenly(one))},
        "next": smoothing
        | {
            "velocity kept": lambda one: relative(one, *onward(one)),
            "last pose kept": lambda one: relative(one, *evenly(one)),
        },
    }


LOST = {"all": none_lost, "lost": gaps, "next": last_lost}


def compare(
    network: TemporalNetwork, some: Sequence[Case], others: Ways, *, lost: bool
) -> list[Judged]:
    """Attention and other ways, on the same frames of some series: all, or those that are lost."""
    errors: dict[str, list[Tensor]] = {}
    held, radii = [], []
    with torch.inference_mode():
        for one in some:
            chosen = torch.arange(len(one.drawn.place[0])) != one.reference
            if lost:
                chosen = chosen & ~one.drawn.known.measured[0]
            answer = network(one.drawn.known)
            own = relative(one, answer.rotation, answer.place)
            found = {"attention": own} | {name: way(one) for name, way in others.items()}
            for name, error in found.items():
                errors.setdefault(name, []).append(error[chosen])
            variance = answer.deviation[0].square()
            deviation = (variance + variance[one.reference]).sqrt()
            held.append((own.abs() < 1.96 * deviation[..., None])[chosen].float().flatten())
            radii.append(torch.full((int(chosen.sum()),), one.track.radius))
    radius = torch.cat(radii)
    out = []
    for name, parts in errors.items():
        each = torch.cat(parts)
        turn, shift = each.norm(dim=-1).unbind(-1)
        within = float(torch.cat(held).mean()) if name == "attention" else float("nan")
        out.append(
            Judged(
                way=name,
                off=float(displacement(each).mean()),
                turn_deg=float(torch.rad2deg(turn / radius).mean()),
                shift=float(shift.mean()),
                held=within,
            )
        )
    return out


COLUMNS = ("series", "frames", "by", "off, mm", "turn, degrees", "shift, mm", "95 % intervals hold")


def cells(kind: str, frames: str, one: Judged) -> list[str]:
    """A row of a table."""
    held = "" if np.isnan(one.held) else f"{100 * one.held:.0f} %"
    told = [f"{value:.2f}" for value in (one.off, one.turn_deg, one.shift)]
    return [kind, {"next": "one ahead"}.get(frames, frames), one.way, *told, held]


def validate(network: TemporalNetwork, ground: Ground, count: int) -> str:
    """Tables for the card: bare tracking, gaps, one frame ahead; and how often deviations hold."""
    every = [*ground.drawn, *ground.apart]
    rows = [list(COLUMNS)]
    for kind in ("fetal", "adult"):
        seen = [one for one in every if one.watched and one.kind == kind]
        for frames, others in ways(network).items():
            some = cases(seen, LOST[frames])[:count]
            if some:
                found = compare(network, some, others, lost=frames != "all")
                rows += [cells(kind, frames, one) for one in found]
    return markdown_table(rows)


def about_network(network: TemporalNetwork) -> str:
    """What it is and was trained on, for the card."""
    many = sum(p.numel() for p in network.parameters())
    prior = network.believed_before()
    chance, speed = (" and ".join(f"{x:.2g}" for x in two) for two in (prior.chance, prior.speed))
    return f"""# The head through time

Attention over all frames of a series (`unimo_bids.networks.temporal`), {many} weights, upon a
smooth way: turn and shift wander by {chance} mm² a second, and have velocities of
{speed} (mm/s)² that are forgotten in {prior.memory:g} s; Student's t with
{prior.tail:g} degrees of freedom. Trained on what the shipped pose network says of
rendered series (`unimo_bids.training.sequences`): heads of the pack of anatomies, moved by
trajectories recorded in utero (fetal-motion: Xu 2019, Vasung 2022; MIT) and by made-up ones, of
fetuses and adults; and on ways alone, as after registration. Held back: every fourth date, with
heads that are held back too.
"""


RECIPE = Recipe(
    name="track",
    network=TemporalNetwork,
    ground=make_ground,
    draw=draw,
    losses=losses,
    finish=calibrate,
    validate=validate,
    about=about_network,
    examples="series",
    load=load,
)

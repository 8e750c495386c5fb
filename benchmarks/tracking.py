"""Tracking through time: attention over the series beside simpler ways, all before refinement.

Series are those that ``unimo-train watch`` made and held back: other dates, other heads. Some are
rendered and looked at whole; longer ones are recordings whose every frame is measured as well as
some frame of a rendered series was. All ways are given the same measurements and, where they use
them, the same deviations.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.markdown import markdown_table
from unimo_bids.motion.spaer import temporal_network
from unimo_bids.networks.alignment import Representation, align
from unimo_bids.networks.temporal import TemporalNetwork
from unimo_bids.spatial import rigid
from unimo_bids.training import judged
from unimo_bids.training.judged import Case, Ways, cases, cells, compare, relative_exact
from unimo_bids.training.sequences import Watched, load
from unimo_bids.training.track import Track, borrowed, displacement, off, off_by, part, tracks

LENGTHS = (10, 20, 40, 80, 140, 200)  # of recordings
_RECORDINGS = 12
_EACH = (
    *("series", "turn off, degrees", "of that the reference alone", "a frame alone"),
    *("95 % of turns hold", "of shifts"),
)
_PAST, _TRIES = 25, 20  # frames of a prediction, as of `Follower`; times that it is timed
_REGISTERED_MM = 0.05  # along each axis: of series in utero after refinement


def judge(data: Path, threads: int, *, each: bool = False) -> int:
    """Print the table, and what the targets are about; or a line for each rendered series."""
    torch.set_num_threads(threads)
    network = temporal_network()
    every = [one for one in load(data) if one.held_back]
    measured = tracks(every)
    seen = [one for one in measured if one.watched]
    if each:
        print(markdown_table([list(_EACH), *(_alone(network, one) for one in seen)]))
        return 0
    rows: list[list[str]] = [list(judged.COLUMNS)]
    for kind in ("fetal", "adult"):
        some = [one for one in seen if one.kind == kind]
        rows += _rows(
            network, f"{kind}, rendered", some, {"chained pairs": _chained(every, measured)}
        )
        best = _from_best_known(network, cases(some, judged.LOST["all"]))
        smoothing = {"smoothing": judged.ways(network)["all"]["smoothing"]}
        title = f"{kind}, rendered, from the frame known best"
        rows += [cells(title, "all", one) for one in compare(network, best, smoothing, lost=False)]
        lent = _recorded([one for one in measured if one.kind == kind])
        rows += _rows(network, f"{kind}, recorded", lent, {})
        rows += _registered(network, kind, lent)
    print(markdown_table(rows))
    longest = max(seen, key=lambda one: len(one.times))
    for frames in (len(longest.times), _PAST):
        gone = judged.LOST["next"](frames, 0)
        taken = _cpu_seconds(network, judged.case(longest, slice(0, frames), gone))
        print(f"\n{1000 * taken:.0f} ms of CPU time for {frames} frames, the last one ahead")
    return 0


def _cpu_seconds(network: TemporalNetwork, one: Case) -> float:
    """Of one look at a series."""
    with torch.inference_mode():
        network(one.drawn.known)
        begun = time.process_time()
        for _ in range(_TRIES):
            network(one.drawn.known)
    return (time.process_time() - begun) / _TRIES


def _from_best_known(network: TemporalNetwork, some: Sequence[Case]) -> list[Case]:
    """The same, all relative to the frame whose pose the network says it knows best."""
    out = []
    for one in some:
        with torch.inference_mode():
            deviation = network(one.drawn.known).deviation[0]
        out.append(replace(one, reference=int(displacement(deviation[..., None]).argmin())))
    return out


def _alone(network: TemporalNetwork, one: Track) -> list[str]:
    """What the error of a series is made of: the reference's own, and the other frames'."""
    case = _whole([one], judged.LOST["all"])[0]
    with torch.inference_mode():
        answer = network(case.drawn.known)
    errors = off(answer.rotation, answer.place, case.drawn)[0]
    usual = errors.mean(dim=0)  # of the space of the head: no frame's
    others = torch.arange(len(errors)) != case.reference
    relative = (errors - errors[case.reference])[others]
    variance = answer.deviation[0].square()
    deviation = (variance + variance[case.reference]).sqrt()[others]
    held = (relative.abs() < 1.96 * deviation[..., None]).float().mean((0, 2)).tolist()
    turns = (relative[:, 0], (errors[case.reference] - usual)[None, 0], (errors - usual)[others, 0])
    degrees = [f"{float(torch.rad2deg(t.norm(dim=-1) / one.radius).mean()):.2f}" for t in turns]
    return [f"{one.kind}, {one.name}", *degrees, *(f"{100 * share:.0f} %" for share in held)]


def _rows(
    network: TemporalNetwork, title: str, series: Sequence[Track], also: Ways
) -> list[list[str]]:
    """All frames, lost ones, and the next one."""
    rows = []
    for frames, others in judged.ways(network).items():
        some = cases(series, judged.LOST[frames]) if also else _whole(series, judged.LOST[frames])
        if some:
            more = also if frames == "all" else {}
            found = compare(network, some, {**others, **more}, lost=frames != "all")
            many = f"{title}, {len(some)} series"
            rows += [cells(many, frames, one) for one in found]
    return rows


def _registered(network: TemporalNetwork, kind: str, series: Sequence[Track]) -> list[list[str]]:
    """Lost frames and the next one where the others have been registered."""
    rows = []
    for frames, others in judged.ways(network).items():
        if frames != "all" and series:
            some = [
                registered(one, _REGISTERED_MM, seed)
                for seed, one in enumerate(_whole(series, judged.LOST[frames]))
            ]
            title = f"{kind}, recorded, registered, {len(some)} series"
            rows += [cells(title, frames, one) for one in compare(network, some, others, lost=True)]
    return rows


def _whole(series: Sequence[Track], lost: Callable[[int, int], NDArray[np.bool_]]) -> list[Case]:
    """Series as they are, without some frames."""
    out = []
    for number, one in enumerate(series):
        gone = lost(len(one.times), number)
        gone[one.reference] = False
        out.append(judged.case(one, slice(0, len(gone)), gone))
    return out


def _recorded(series: Sequence[Track]) -> list[Track]:
    """Ways of all lengths, each frame measured as one of a rendered series was."""
    donors = [one for one in series if one.watched]
    out = []
    for number, way in enumerate([one for one in series if not one.watched][:_RECORDINGS]):
        for length in LENGTHS if donors else ():
            if length <= len(way.times):
                rng = np.random.default_rng([number, length])
                start = int(rng.integers(len(way.times) - length + 1))
                piece = part(way, start + np.arange(length))
                donor = donors[int(rng.integers(len(donors)))]
                out.append(borrowed(piece, donor, rng))
    return out


def _chained(every: Sequence[Watched], measured: Sequence[Track]) -> Callable[[Case], Tensor]:
    """Errors where each frame is compared with the one before it, and poses are their product."""

    def chained(one: Case) -> Tensor:
        (number,) = (n for n, track in enumerate(measured) if track is one.track)
        watched, many = every[number], len(one.drawn.place[0])
        first = int((one.track.times == one.drawn.known.times[0, 0]).nonzero()[0, 0])
        arrays = (watched.points, watched.vectors, watched.weights)
        points, vectors, weights = (
            torch.from_numpy(a[first : first + many]).double() for a in arrays
        )
        center = one.direct[1][0, one.reference]
        looks = Representation((points - center) / watched.radius, vectors, weights)
        poses = [torch.eye(4).double()]
        for step in align(looks[:-1], looks[1:]).poses:
            poses.append(step @ poses[-1])
        product = torch.stack(poses)
        product = product @ rigid.inverse(product[one.reference])
        place = watched.radius * product[:, :3, 3]
        return relative_exact(one, product[None, :, :3, :3], place[None])

    return chained


def registered(one: Case, deviation: float, seed: int) -> Case:
    """The same as after registration: the truth, with a deviation in mm."""
    rng, many = np.random.default_rng(seed), len(one.drawn.rotation[0])
    own = torch.full((many, 2), deviation).double()
    rotation, place = off_by(one.drawn.rotation[0], one.drawn.place[0], own, one.track.radius, rng)
    known = replace(
        one.drawn.known,
        rotation=rotation[None],
        place=place[None],
        deviation=own[None],
        evidence=0 * one.drawn.known.evidence,
        disagreement=0 * one.drawn.known.disagreement,
    )
    return replace(one, drawn=replace(one.drawn, known=known))

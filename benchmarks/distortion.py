"""A field fixed in the scanner: how far brain points are from where the reference's geometry is.

The head moves through a field of Gaussian bumps, which is no sum of the cosines that are looked
for. What is at a point of the brain is seen, in every frame, where the field puts it; a rigid pose,
or a pose and a field, say where. The error is the distance of the two, over points and frames; the
reference frame has none by definition and is left out.
"""

from __future__ import annotations

import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.scenarios import VOXEL_MM, WOMB_GRID, fetal_motion
from benchmarks.table import markdown_table, number
from unimo_bids.motion.distortion import estimate_distortion
from unimo_bids.motion.estimation import estimate_motion
from unimo_bids.simulation.artefacts import Artefact, Drift, ReceiveBias, RicianNoise, SpinHistory
from unimo_bids.simulation.fetal import fetal_head
from unimo_bids.simulation.physiology import BoldFluctuation, PhaseEncodeDistortion
from unimo_bids.simulation.series import SimulatedSeries, simulate
from unimo_bids.simulation.uterus import fetal_surroundings
from unimo_bids.spatial import rigid
from unimo_bids.spatial.warp import Rigid, Warp

AXIS = 1
_PLACE = 0  # of the distortion among the artefacts
_AROUND: dict[str, tuple[Artefact, ...]] = {
    "typical": (SpinHistory(strength=0.5), RicianNoise(1000 / 40)),
    "severe": (SpinHistory(), RicianNoise(1000 / 25)),
}
_ROUNDS = 60  # of a fixed point


@dataclass(frozen=True)
class _Errors:
    mean: float
    p95: float

    def __str__(self) -> str:
        return f"{number(self.mean)} / {number(self.p95)}"


def judge(
    data: Path,
    motions: Sequence[str],
    sizes: Sequence[float],
    seeds: Sequence[int],
    attached: str,
    frames: int,
    threads: int,
) -> int:
    """Print the table."""
    torch.set_num_threads(threads)
    rows = []
    for kind in motions:
        for size in sizes:
            for seed in seeds:
                rows.append(_row(kind, size, seed, attached, frames, data))
                print("; ".join(rows[-1]), flush=True)
    columns = ["motion", "field, mm", "seed", "rigid, mean / p95", "with auto", "ratio of means"]
    print(markdown_table([[*columns, "found", "CPU s, motion", "field"], *rows]))
    return 0


def _row(kind: str, size: float, seed: int, attached: str, frames: int, data: Path) -> list[str]:
    series = _series(kind, size, seed, attached, frames, data)
    mask = (series.brain > 0.5).astype(np.float32)
    begun = _cpu_seconds()
    motion = estimate_motion(series.data, series.affine, mask=mask, reference=0)
    between = _cpu_seconds()
    bent = estimate_distortion(series.data, series.affine, motion, AXIS)
    ended = _cpu_seconds()
    poses = torch.from_numpy(bent.motion.poses)
    plain: list[Warp] = [Rigid(pose) for pose in torch.from_numpy(motion.poses)]
    found = plain if bent.distortion is None else [bent.distortion.warp(pose) for pose in poses]
    before, after = _errors(series, plain), _errors(series, found)
    told = "none" if bent.distortion is None else f"{bent.distortion.field.shift.abs().max():.1f}"
    times = [f"{between - begun:.1f}", f"{ended - between:.1f}"]
    ratio = f"{after.mean / before.mean:.2f}"
    return [kind, f"{size:g}", str(seed), str(before), str(after), ratio, told, *times]


def _series(
    kind: str, size: float, seed: int, attached: str, frames: int, data: Path
) -> SimulatedSeries:
    weeks = float(np.random.default_rng([seed, 40]).uniform(24, 36))
    head = fetal_head(round(weeks, 1), seed=seed)
    return simulate(
        head,
        fetal_motion(kind)(frames, seed, data),
        shape=WOMB_GRID,
        voxel_sizes=VOXEL_MM,
        surroundings=fetal_surroundings(seed, head_radius=1.3 * head.radius),
        artefacts=(
            PhaseEncodeDistortion(size, axis=AXIS, attached=attached),
            BoldFluctuation(0.005),
            ReceiveBias(0.2),
            Drift(0.01),
            *_AROUND[kind],
        ),
        repetition_time=2.9,
        seed=seed,
    )


def _errors(series: SimulatedSeries, warps: Sequence[Warp]) -> _Errors:
    points = torch.from_numpy(series.brain_points)
    shown = _seen(series, points, series.reference)
    apart = [
        (warp(shown) - _seen(series, rigid.transform(torch.from_numpy(pose), points), t)).norm(
            dim=1
        )
        for t, (warp, pose) in enumerate(zip(warps, series.poses, strict=True))
        if t != series.reference
    ]
    every = torch.cat(apart).numpy()
    return _Errors(float(every.mean()), float(np.quantile(every, 0.95)))


def _seen(series: SimulatedSeries, points: Tensor, t: int) -> Tensor:
    """Where frame t shows what is at points ``(N, 3)``."""
    scene = series.scene
    part = scene.artefacts[_PLACE]
    assert isinstance(part, PhaseEncodeDistortion)
    seen = points.clone()
    for _ in range(_ROUNDS):
        seen[:, AXIS] = points[:, AXIS] - part.displacement(seen, scene.moment(t, _PLACE))
    return seen


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

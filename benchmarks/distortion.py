"""A field fixed in the scanner: how far brain points are from where the reference's geometry is.

The head moves through a field of Gaussian bumps, which is no sum of the cosines that are looked
for. What is at a point of the brain is seen, in every frame, where the field puts it; a rigid pose,
or a pose and a field, say where. The error is the distance of the two, over points and frames; the
reference frame has none by definition and is left out. Along an axis that is not the distortion's,
nothing should be corrected.

Of series that this project's simulator did not draw, poses are known, fields are not: there the
error is the displacement of the brain between the true and the estimated pose.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.outside import Case, cases
from benchmarks.scenarios import fetal_motion, fetal_series
from benchmarks.table import with_p95
from unimo_bids.deformation.field_map import FieldMap
from unimo_bids.files.series import read_mask, read_series
from unimo_bids.markdown import markdown_table
from unimo_bids.motion.distortion.estimation import Bent, estimate_distortion
from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.motion.estimation import estimate_motion
from unimo_bids.simulation.artefacts import Artefact, Drift, ReceiveBias, RicianNoise, SpinHistory
from unimo_bids.simulation.physiology import BoldFluctuation, PhaseEncodeDistortion
from unimo_bids.simulation.series import SimulatedSeries
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.resampling import resample
from unimo_bids.spatial.warp import Rigid, Warp
from unimo_bids.words import GRID_AXES

AXIS = 1  # of the simulated distortion
_FOUND = ("found, mm", "less left, % i / j / k", "CPU s, motion", "field")
_PLACE = 0  # of the distortion among the artefacts
_AROUND: dict[str, tuple[Artefact, ...]] = {
    "typical": (SpinHistory(strength=0.5), RicianNoise(1000 / 40)),
    "severe": (SpinHistory(), RicianNoise(1000 / 25)),
}
_COARSER, _READOUT = 1.3, 0.03  # of a field map: voxels, of the series'; s
_ROUNDS = 60  # of a fixed point


def judge(
    data: Path,
    motions: Sequence[str],
    sizes: Sequence[float],
    seeds: Sequence[int],
    attached: str,
    frames: int,
    axes: Sequence[str],
    maps: Sequence[float],
    threads: int,
) -> int:
    """Print the table of simulated series."""
    torch.set_num_threads(threads)
    columns = ["motion", "field, mm", "seed", "axis", "rigid, mean / p95", "with auto"]
    rows = [[*columns, "ratio of means", *_FOUND]]
    for kind in motions:
        for size in sizes:
            for seed in seeds:
                series = _series(kind, size, seed, attached, frames, data)
                mask = (series.brain > 0.5).astype(np.float32)
                given = [_measured(series, times) for times in maps]
                for outcome in _outcomes(series.data, series.affine, mask, axes, given):
                    before, after = (_errors(series, one) for one in outcome.warps)
                    cells = [with_p95(one, np.mean) for one in (before, after)]
                    cells.append(f"{after.mean() / before.mean():.2f}")
                    case = [kind, f"{size:g}", str(seed), outcome.axis]
                    rows.append([*case, *cells, *outcome.cells])
                    print("; ".join(rows[-1]), flush=True)
    print(markdown_table(rows))
    return 0


def judge_outside(data: Path, only: Sequence[str], axes: Sequence[str], threads: int) -> int:
    """Print the table of series that others drew or scanned."""
    torch.set_num_threads(threads)
    columns = ["series", "axis", "rigid, median / p95", "with auto"]
    rows = [[*columns, *_FOUND]]
    for case in cases(data):
        if only and not any(one in case.name for one in only):
            continue
        series = read_series(case.path)
        mask = None if case.mask is None else read_mask(case.mask, series)
        for outcome in _outcomes(series, series.affine, mask, axes):
            errors = (_pose_errors(case, mask, series.affine, one) for one in outcome.motions)
            rows.append([case.name, outcome.axis, *errors, *outcome.cells])
            print("; ".join(rows[-1]), outcome.bent.finding, flush=True)
    print(markdown_table(rows))
    return 0


@dataclass(frozen=True)
class _Outcome:
    """Poses and field of a series, by distortion along one axis."""

    axis: str
    motion: MotionEstimate
    bent: Bent
    seconds: tuple[float, float]

    @property
    def motions(self) -> tuple[MotionEstimate, MotionEstimate]:
        return self.motion, self.bent.motion

    @property
    def warps(self) -> tuple[list[Warp], list[Warp]]:
        """From the reference to where its points are seen, without the field and with it."""
        plain: list[Warp] = [Rigid(pose) for pose in torch.from_numpy(self.motion.poses)]
        poses, found = torch.from_numpy(self.bent.motion.poses), self.bent.distortion
        return plain, plain if found is None else [found.warp(pose) for pose in poses]

    @property
    def cells(self) -> list[str]:
        """Cells of `_FOUND`."""
        found, less = self.bent.distortion, self.bent.less
        largest = "none" if found is None else f"{found.field.shift.abs().max():.1f}"
        left = " / ".join(f"{100 * less[one]:.1f}" if one in less else "–" for one in range(3))
        return [largest, left if less else "–", *(f"{one:.1f}" for one in self.seconds)]


def _outcomes(
    series: Any,
    affine: NDArray[np.float64],
    mask: NDArray[Any] | None,
    axes: Sequence[str],
    maps: Sequence[FieldMap] = (),
) -> Iterator[_Outcome]:
    begun = process_time()
    motion = estimate_motion(series, affine, mask=mask, reference=0)
    known = process_time() - begun
    for axis, given in product(axes, maps or [None]):
        begun = process_time()
        bent = estimate_distortion(series, affine, motion, GRID_AXES.index(axis), field_map=given)
        said = axis if given is None else f"{axis}, map {'taken' if bent.measured else 'refused'}"
        yield _Outcome(said, motion, bent, (known, process_time() - begun))


def _pose_errors(
    case: Case, mask: NDArray[Any] | None, affine: NDArray[np.float64], motion: MotionEstimate
) -> str:
    """Median and 95th percentile over frames of the brain's mean displacement."""
    truth = case.path.with_name("truth.npy")
    if mask is None or not truth.exists():
        return "–"
    poses = np.load(truth)
    true = torch.from_numpy(poses @ np.linalg.inv(poses[0]))
    points = Grid.of(mask.shape, affine).points()[torch.from_numpy(mask > 0.5).flatten()][::20]
    apart = rigid.displacement(torch.from_numpy(motion.poses), true, points).mean(dim=-1).numpy()
    return with_p95(apart if case.scored is None else apart[case.scored])


def _series(
    kind: str, size: float, seed: int, attached: str, frames: int, data: Path
) -> SimulatedSeries:
    artefacts = (
        PhaseEncodeDistortion(size, axis=AXIS, attached=attached),
        BoldFluctuation(0.005),
        ReceiveBias(0.2),
        Drift(0.01),
        *_AROUND[kind],
    )
    return fetal_series(fetal_motion(kind)(frames, seed, data), artefacts, seed)


def _measured(series: SimulatedSeries, times: float) -> FieldMap:
    """What a scanner would measure of the field while the reference is taken, times a number.

    On coarser voxels, where tissue truly is; with 3 Hz of noise, and nothing but that in air.
    """
    mine = Grid.of(series.data.shape, series.affine)
    coarser = torch.diag(torch.tensor([_COARSER] * 3 + [1.0], dtype=torch.float64))
    x, y, z = (round(n / _COARSER) for n in mine.shape)
    grid = Grid((x, y, z), mine.affine @ coarser)
    points = grid.points()
    hz = (_seen(series, points, series.reference) - points)[:, AXIS] / float(mine.sizes[AXIS])
    rng = torch.Generator().manual_seed(0)
    shown = torch.from_numpy(series.data[..., series.reference].astype(np.float32))
    bright = resample(shown, mine, Rigid(torch.eye(4).double()), onto=grid, interpolation="linear")
    tissue = (bright > 0.1 * float(np.quantile(shown.numpy(), 0.98))).float()
    measured = times * hz.reshape(grid.shape).float() / _READOUT
    noise = torch.randn(grid.shape, generator=rng)
    return FieldMap(tissue * measured + (3 + 400 * (1 - tissue)) * noise, tissue, grid, _READOUT)


def _errors(series: SimulatedSeries, warps: Sequence[Warp]) -> NDArray[np.float64]:
    """How far each point is, in every frame but the reference, from where a warp puts it, mm."""
    points = torch.from_numpy(series.brain_points)
    shown = _seen(series, points, series.reference)
    apart = [
        (warp(shown) - _seen(series, rigid.transform(torch.from_numpy(pose), points), t)).norm(
            dim=1
        )
        for t, (warp, pose) in enumerate(zip(warps, series.poses, strict=True))
        if t != series.reference
    ]
    return torch.cat(apart).numpy()


def _seen(series: SimulatedSeries, points: Tensor, t: int) -> Tensor:
    """Where frame t shows what is at points ``(N, 3)``."""
    scene = series.scene
    part = scene.artefacts[_PLACE]
    assert isinstance(part, PhaseEncodeDistortion)
    seen = points.clone()
    for _ in range(_ROUNDS):
        seen[:, AXIS] = points[:, AXIS] - part.displacement(seen, scene.moment(t, _PLACE))
    return seen

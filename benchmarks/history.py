"""Spin history: frames made from slices, with it and without.

Simulated heads have the Bloch equations' history (a T1 for each tissue, a Gaussian profile), which
is not how it is predicted; receive field, drift and noise are there as well. Real series are still:
they have to stay as they are. The tSNR is the median over the brain, of frames in use.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.scenarios import COMMON, fetal_artefacts
from benchmarks.slices import STEPS, TR, moving_head, way_of
from benchmarks.table import number
from unimo_bids.brain.run import find_series_brain
from unimo_bids.files.series import Series, read_mask, read_series
from unimo_bids.markdown import markdown_table
from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.motion.estimation import estimate_motion, find_reference
from unimo_bids.motion.slices.estimation import estimate_slices
from unimo_bids.motion.slices.history import Excitation, usual_t1
from unimo_bids.motion.slices.trajectory import SliceTimes
from unimo_bids.pipeline.rebuilt import Rebuilt, SliceResult
from unimo_bids.pipeline.slices import excitation_of, read_slice_times
from unimo_bids.simulation.artefacts import Artefact, ContinuousMotion, acquisition_times
from unimo_bids.simulation.excitation import ADULT_T1, FETAL_T1, SliceExcitation
from unimo_bids.simulation.physiology import Activation
from unimo_bids.spatial.grid import Grid

KINDS = ("typical", "severe", "task", "semireal", "real")
_FLIP = 75.0  # degrees, of what is simulated
_REAL = ("sub-xa30", "sub-rtcloud")
_TASK_FRAMES = 40


@dataclass(frozen=True, eq=False)
class Scan:
    """A series and how it was acquired.

    `task`: ``(T,)`` regressor, and where it activates ``(X, Y, Z)`` in the reference; or None.
    """

    name: str
    series: Any
    grid: Grid
    motion: MotionEstimate
    times: SliceTimes
    excitation: Excitation
    task: tuple[NDArray[np.float64], NDArray[np.bool_]] | None = None


def judge(
    data: Path, frames: int, seeds: Sequence[int], threads: int, kinds: Sequence[str] = ()
) -> int:
    """Print a table of all series."""
    torch.set_num_threads(threads)
    rows = []
    for kind in kinds or KINDS:
        if kind == "real":
            scans = [_real(data, name) for name in _REAL]
        elif kind == "semireal":
            scans = [_semireal(path) for path in sorted(data.glob("semireal/inutero-severe-*"))]
        else:
            scans = [_simulated(kind, seed, frames, data) for seed in seeds]
        rows += [_row(scan) for scan in scans]
    columns = ["series", "strength", "explained", "removed", "tSNR before", "after"]
    print(markdown_table([[*columns, "with the task, before", "after"], *rows]))
    return 0


def _row(scan: Scan) -> list[str]:
    affine, how = scan.grid.affine.numpy(), (scan.motion, scan.times, scan.excitation)
    slices = estimate_slices(scan.series, affine, *how)
    inside = scan.motion.mask > 0.5
    used = np.isin(scan.motion.status, ("ok", "searched"))
    told, task = [], []
    for excitation in (None, scan.excitation):
        made = Rebuilt(
            scan.series, scan.grid, SliceResult.of(slices, scan.motion, excitation), scan.motion
        )
        frames = np.stack(list(made))[used]
        brain = frames[:, inside]
        brain = brain[:, (brain > 0).all(axis=0)]
        told.append(number(float(np.median(brain.mean(axis=0) / brain.std(axis=0)))))
        task.append(_with_task(frames, used, scan.task))
    about = made.about_brightness().get("SpinHistory", {})
    shares = [number(about[key]) for key in ("Strength", "ExplainedUnseen")]
    return [scan.name, *shares, "yes" if about["Removed"] else "no", *told, *task]


def _with_task(
    frames: NDArray[np.float32],
    used: NDArray[np.bool_],
    task: tuple[NDArray[np.float64], NDArray[np.bool_]] | None,
) -> str:
    """Mean correlation with the task where it activates."""
    if task is None:
        return ""
    regressor, active = task
    signal = frames[:, active]
    signal = signal[:, (signal > 0).all(axis=0)]
    signal = signal - signal.mean(axis=0)
    course = regressor[used] - regressor[used].mean()
    found = course @ signal / (np.linalg.norm(course) * np.linalg.norm(signal, axis=0))
    return number(float(found.mean()))


def _simulated(kind: str, seed: int, frames: int, data: Path) -> Scan:
    adult = kind == "task"
    frames = _TASK_FRAMES if adult else frames
    way = way_of("adult-nod" if adult else kind, seed, frames, data)
    moves = ContinuousMotion(way, STEPS)
    excited = SliceExcitation(moves, _FLIP, ADULT_T1 if adult else FETAL_T1, memory=4)
    more: tuple[Artefact, ...] = (
        (Activation(amplitude=0.03), *COMMON)
        if adult
        else fetal_artefacts(0.0, 0.0, 40 if kind == "typical" else 25)
    )
    made = moving_head(way, (moves, excited, *more), seed, adult=adult)
    mask = (made.brain > 0.5).astype(np.float32)
    active = made.activation
    return Scan(
        f"{kind}, seed {seed}",
        made.data,
        Grid.of(made.data.shape, made.affine),
        estimate_motion(made.data, made.affine, mask=mask, reference=0),
        SliceTimes(2, acquisition_times(made.data.shape[2]) * TR, TR),
        Excitation(_FLIP, usual_t1(None), TR),
        None if active is None else (active.regressor, active.map > 0.01),
    )


def _semireal(folder: Path) -> Scan:
    """Another simulator's: slices in two packets, about the frame's time; its flip angle unsaid."""
    series = read_series(folder / "bold.nii.gz")
    tr = float(json.loads((folder / "meta.json").read_text())["tr"])
    packets = np.where(np.arange(series.shape[2]) % 2 == 0, 0.25, 0.75) * tr
    mask = read_mask(folder / "mask.nii.gz", series)
    motion = estimate_motion(series, series.affine, mask=mask, reference=0)
    excitation = Excitation(90.0, usual_t1(None), tr)
    return Scan(folder.name, series, series.grid, motion, SliceTimes(2, packets, tr), excitation)


def _real(data: Path, name: str) -> Scan:
    path = next((data / "epi").glob(f"{name}/func/*_bold.nii*"))
    sidecar = path.with_name(path.name.split(".")[0] + ".json")
    series: Series = read_series(path)
    times = read_slice_times(sidecar, series)
    excitation, _ = excitation_of(json.loads(sidecar.read_text()), times.repetition_time)
    assert excitation is not None
    reference = find_reference(series, series.affine)
    mask = find_series_brain(series, reference).motion_mask
    motion = estimate_motion(series, series.affine, mask=mask, reference=reference)
    return Scan(name, series, series.grid, motion, times, excitation)

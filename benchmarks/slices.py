"""Motion inside frames: slices of heads that never rest, and frames that a real turn has torn.

Simulated heads move on smooth ways through recorded trajectories, with what a recording of one pose
a frame cannot show drawn around them; the error of a slice is the mean displacement of the brain's
points in it, up to a motion common to all, as the reference is torn as well. Of real runs with a
``SliceTiming``, each frame in the reference's space is correlated with the template.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from time import process_time

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.metrics import kabsch
from benchmarks.scenarios import (
    ADULT_GRID,
    COMMON,
    FETAL_TR,
    VOXEL_MM,
    fetal_artefacts,
    fetal_motion,
    fetal_series,
)
from benchmarks.table import with_p95
from unimo_bids.brain.run import find_series_brain
from unimo_bids.files.series import read_series
from unimo_bids.markdown import markdown_table
from unimo_bids.motion.correction import correct_series
from unimo_bids.motion.estimation import estimate_motion, find_reference
from unimo_bids.motion.slices.estimation import correct_slices, estimate_slices
from unimo_bids.motion.slices.trajectory import SliceTimes
from unimo_bids.pipeline.slices import read_slice_times
from unimo_bids.simulation.anatomy import adult_head
from unimo_bids.simulation.artefacts import Artefact, ContinuousMotion, acquisition_times
from unimo_bids.simulation.kinematics import poses_from, within_frames
from unimo_bids.simulation.series import SimulatedSeries, simulate
from unimo_bids.spatial import rigid

TR = FETAL_TR
STEPS = 24  # of the head's way in a frame
_BANDS = 4  # of the scenario with several slices at once
INTERVAL = 1.96  # standard deviations to either side hold 95 %
_FEWEST = 3  # points of the brain, that a slice has to show more of
_JITTER = 0.15  # of the step from frame to frame
_ARTEFACTS = {
    "typical": fetal_artefacts(0.0, 0.0, 40),
    "severe": fetal_artefacts(0.0, 0.0, 25),
    "severe, distortion and spin history": fetal_artefacts(4.0, 1.0, 25),
    "rest": fetal_artefacts(0.0, 0.0, 25),
    "jump": fetal_artefacts(0.0, 0.0, 40),
    "multiband": fetal_artefacts(0.0, 0.0, 40),
    "adult-nod": COMMON,
}
KINDS = tuple(_ARTEFACTS)
_REAL = ("sub-mosaic04", "sub-mosaic06", "sub-sag02", "sub-xa30", "sub-rtcloud")


def judge(
    data: Path, frames: int, seeds: Sequence[int], threads: int, kinds: Sequence[str] = ()
) -> int:
    """Print the tables of simulated and of real heads, or of some kinds: `real` is one."""
    torch.set_num_threads(threads)
    chosen = kinds or (*KINDS, "real")
    rows = [
        _simulated(kind, seed, frames, data) for kind in chosen if kind != "real" for seed in seeds
    ]
    columns = ["series", "seed", "by frames, median / p95", "by slices", "95 % hold"]
    columns += ["CPU s", "of it slices"]
    if rows:
        print(markdown_table([columns, *rows]))
    if "real" not in chosen:
        return 0
    paths = (sorted((data / "epi").glob(f"{name}/func/*_bold.nii*")) for name in _REAL)
    real = [row for path in chain(*paths) if (row := _real(path)) is not None]
    columns = ["run", "lost", "by frames, least / median", "by slices", "CPU s"]
    print(markdown_table([columns, *real]))
    return 0


def _simulated(kind: str, seed: int, frames: int, data: Path) -> list[str]:
    bands = _BANDS if kind == "multiband" else 1
    way = way_of(kind, seed, frames, data)
    moves = ContinuousMotion(way, STEPS, bands=bands)
    series = moving_head(way, (moves, *_ARTEFACTS[kind]), seed, adult=kind == "adult-nod")
    mask, many = (series.brain > 0.5).astype(np.float32), series.data.shape[2]
    times = SliceTimes(2, acquisition_times(many, bands=bands) * TR, TR)
    begun = process_time()
    motion = estimate_motion(series.data, series.affine, mask=mask, reference=0)
    between = process_time()
    slices = estimate_slices(series.data, series.affine, motion, times)
    ended = process_time()
    by_frames = np.repeat(motion.poses[:, None], many, axis=1)
    compared = [_compared(series, poses) for poses in (by_frames, slices.poses)]
    told = [with_p95(errors) for errors, *_ in compared]
    _, shown, common = compared[1]
    held = _held(series, slices.poses @ common, slices.covariance)[shown & ~slices.whole[:, None]]
    hold = f"{100 * held.mean():.0f} %" if held.size else "-"
    return [kind, str(seed), *told, hold, f"{ended - begun:.1f}", f"{ended - between:.1f}"]


def moving_head(
    way: NDArray[np.float64], artefacts: Sequence[Artefact], seed: int, *, adult: bool
) -> SimulatedSeries:
    """Series of a head on its way (`way_of`): an adult's in air, or a fetus' in its uterus."""
    poses = way[STEPS // 2 :: STEPS]
    if not adult:
        return fetal_series(poses, artefacts, seed)
    return simulate(
        adult_head(skull=True),
        poses,
        shape=ADULT_GRID,
        voxel_sizes=VOXEL_MM,
        artefacts=artefacts,
        repetition_time=TR,
        seed=seed,
    )


def way_of(kind: str, seed: int, frames: int, data: Path) -> NDArray[np.float64]:
    """The head's way, `STEPS` poses a frame and the last."""
    times = np.arange(frames * STEPS + 1) / STEPS
    turn, shift = np.zeros((2, len(times), 3))
    if kind == "jump":
        after = times > frames // 2 + 0.3
        turn[after], shift[after] = (3.0, 10.0, 4.0), (3.0, 0.0, 2.0)
    elif kind == "adult-nod":
        nodding = np.sin(np.pi * (times % 4).clip(max=1))  # in every fourth frame
        turn[:, 0], shift[:, 1] = 4.0 * nodding, 2.0 * nodding
    elif kind != "rest":
        severity = "typical" if kind == "multiband" else kind.split(",", maxsplit=1)[0]
        return within_frames(fetal_motion(severity)(frames, seed, data), STEPS, _JITTER, seed)
    return poses_from(turn, shift)


def _compared(
    series: SimulatedSeries, poses: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Errors of the slices that show the brain, mm; which do ``(T, S)``; the common motion."""
    points = torch.from_numpy(series.brain_points[::25])
    true = torch.from_numpy(_true_poses(series))
    there = rigid.transform(true, points)  # (T, S, N, 3)
    depth = rigid.transform(torch.linalg.inv(torch.from_numpy(series.affine)), there)[..., 2]
    shown = (depth - torch.arange(depth.shape[1])[None, :, None]).abs() < 0.5
    found = torch.from_numpy(poses)
    back = rigid.transform(rigid.inverse(found), there)[shown]
    common = kabsch(points.expand_as(there)[shown].numpy(), back.numpy())
    apart = (rigid.transform(found @ torch.from_numpy(common), points) - there).norm(dim=-1)
    many = shown.sum(dim=-1)
    errors = (apart * shown).sum(dim=-1) / many.clamp(min=1)
    enough = many > _FEWEST
    return errors[enough].numpy(), enough.numpy(), common


def _true_poses(series: SimulatedSeries) -> NDArray[np.float64]:
    """Of every slice ``(T, S, 4, 4)``, from the reference."""
    reference = series.scene.head_poses[series.reference]
    return np.asarray(series.scene.slice_poses() @ np.linalg.inv(reference))


def _held(
    series: SimulatedSeries, poses: NDArray[np.float64], covariance: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether turns and shifts ``(T, S, 6)`` of poses are within 1.96 standard deviations."""
    true = torch.from_numpy(_true_poses(series)).flatten(0, 1)
    apart = rigid.inverse(torch.from_numpy(poses).flatten(0, 1)) @ true
    center = torch.from_numpy(series.brain_points.mean(axis=0)).expand(len(apart), 3)
    error = torch.cat(rigid.to_parameters(apart, center), dim=1).reshape(*poses.shape[:2], 6)
    deviation = np.sqrt(np.diagonal(covariance, axis1=2, axis2=3))
    return np.asarray(np.abs(error.numpy()) <= INTERVAL * deviation)


def _real(path: Path) -> list[str] | None:
    sidecar = path.with_name(path.name.split(".")[0] + ".json")
    if "SliceTiming" not in json.loads(sidecar.read_text()):
        return None
    series = read_series(path)
    times = read_slice_times(sidecar, series)
    reference = find_reference(series, series.affine)
    begun = process_time()
    mask = find_series_brain(series, reference).motion_mask
    motion = estimate_motion(series, series.affine, mask=mask, reference=reference)
    slices = estimate_slices(series, series.affine, motion, times)
    spent = process_time() - begun
    inside = motion.mask > 0.9

    def likeness(frame: NDArray[np.float32]) -> float:
        shown = inside & (frame != 0)
        return float(np.corrcoef(frame[shown], motion.template[shown])[0, 1])

    made = correct_slices(series, series.affine, slices.poses, slices.gains, times.axis)
    told = []
    for frames in (
        correct_series(series, series.affine, motion.poses),
        (frame for frame, _ in made),
    ):
        alike = np.array([likeness(frame) for frame in frames])
        told.append(f"{alike.min():.3f} / {np.median(alike):.3f}")
    lost = ", ".join(map(str, np.flatnonzero(motion.status == "lost"))) or "none"
    return [path.name.split("_")[0], lost, *told, f"{spent:.1f}"]

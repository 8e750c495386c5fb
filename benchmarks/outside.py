"""Series that this project's simulator did not draw: others' simulators, real scans.

Each goes the way of `unimo-correct`: brain found in the reference, motion, judgement. Where the
truth is known, the error is the mean displacement of the brain's voxels, relative to frame 0 and
up to a motion common to all frames (a torn frame 0 is wrong in itself). Where it is not, what
counts is the deviation over time in the brain before and after, and framewise displacement.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from benchmarks.machine import circumstances
from benchmarks.metrics import kabsch, percent_sd
from benchmarks.moved import brain_of
from benchmarks.results import Figure
from benchmarks.table import number
from unimo_bids.markdown import markdown_table

Float64 = NDArray[np.float64]

FAR = 2.0  # mm: a frame this far off has to be flagged
COLUMNS = (
    *("series", "mode", "error, mm", "from frame 0", "> 2 mm unflagged", "95 % cover"),
    *("FD, mm", "SD, %", "frames", "CPU s"),
)
_OWN_TARGETS: tuple[tuple[str, str, str, str, Callable[[dict[str, Any]], float]], ...] = (
    ("contrast-head", "largest median error", "mm", "0.5", lambda row: row["error"][0]),
    ("sub-feedsmoved", "median error", "mm", "0.05", lambda row: row["error"][0]),
    ("sub-tgse3d", "mean framewise displacement", "mm", "0.35", lambda row: row["fd"]),
)
_INTERVAL = 1.96  # standard deviations to either side hold 95 %


@dataclass(frozen=True)
class Case:
    """A series, and what is known of it."""

    name: str
    path: Path
    truth: Float64 | None
    mask: Path | None
    scored: NDArray[np.bool_] | None


def cases(data: Path) -> list[Case]:
    """All series below a folder laid out as the development data."""
    found = []
    for folder in sorted([*data.glob("semireal/*"), *data.glob("phantom/*")]):
        meta = folder / "meta.json"
        scored = _scored(meta)
        rigid = folder / "apparent.npy"
        truth = np.load(rigid if rigid.exists() else folder / "truth.npy")
        series, mask = folder / "bold.nii.gz", folder / "mask.nii.gz"
        found.append(Case(folder.name, series, truth, mask, scored))
    for path in sorted(data.glob("epi/*/func/*_bold.nii.gz")):
        known = path.with_name(path.name.replace("_bold.nii.gz", "_truth.npy"))
        truth = np.load(known) if known.exists() else None
        found.append(Case(path.name.split("_")[0], path, truth, None, None))
    return found


def _scored(meta: Path) -> NDArray[np.bool_] | None:
    valid = json.loads(meta.read_text()).get("valid") if meta.exists() else None
    return None if valid is None else np.array(valid)


def measure(case: Case, reference: str, mask: bool, threads: int) -> dict[str, Any]:
    """Correct a series and measure the result."""
    import torch

    from unimo_bids.brain.run import find_series_brain
    from unimo_bids.files.series import read_mask, read_series
    from unimo_bids.motion.correction import correct_series
    from unimo_bids.motion.estimation import estimate_motion, find_reference
    from unimo_bids.qc.framewise import framewise_displacement

    torch.set_num_threads(threads)
    series = read_series(case.path)
    before = process_time()
    frame = find_reference(series, series.affine) if reference == "auto" else int(reference)
    if mask and case.mask is not None:
        where = read_mask(case.mask, series)
    else:
        where = find_series_brain(series, frame).motion_mask
    motion = estimate_motion(series, series.affine, mask=where, reference=frame)
    spent = process_time() - before
    raw = series[..., :]
    corrected = np.stack(list(correct_series(raw, series.affine, motion.poses)), axis=-1)
    inside = motion.mask > 0.5
    fd = framewise_displacement(motion.poses, motion.center)[1:]
    row: dict[str, Any] = {
        "name": case.name,
        "reference": frame,
        "mode": getattr(motion, "mode", ""),
        "status": dict(Counter(motion.status.tolist())),
        "fd": float(np.nanmean(fd)),
        "sd": _deviations(raw, corrected, inside),
        "cpu": spent,
        "poses": motion.poses.tolist(),
    }
    if case.truth is not None:
        brain = brain_of(raw[..., 0]) if case.mask is None else read_mask(case.mask, series) > 0.5
        points = apply_affine(series.affine, np.argwhere(brain)[::7])
        scored = np.ones(len(fd) + 1, dtype=bool) if case.scored is None else case.scored
        row |= _errors(motion, case.truth, points, scored)
    return row


def _deviations(
    raw: NDArray[np.float32], corrected: NDArray[np.float32], inside: NDArray[np.bool_]
) -> list[float]:
    """Of both, as of `percent_sd`, where every frame of either shows something."""
    both = raw[inside], corrected[inside]
    seen = (both[0] > 0).all(axis=1) & (both[1] > 0).all(axis=1)
    return [percent_sd(signal[seen]) for signal in both]


def _errors(
    motion: Any, truth: Float64, points: Float64, scored: NDArray[np.bool_]
) -> dict[str, Any]:
    poses, truth = motion.poses @ np.linalg.inv(motion.poses[0]), truth @ np.linalg.inv(truth[0])
    gauge = _common_motion(poses, truth, points)
    from_zero, free = _distances(poses, truth, points), _distances(poses @ gauge, truth, points)
    trusted = np.isin(motion.status, ("ok", "searched"))
    far = scored & trusted & (free > FAR)
    center = motion.center
    off = np.linalg.inv(poses @ gauge) @ truth  # a small motion of the reference before the pose
    turn = np.stack([off[:, 2, 1], off[:, 0, 2], off[:, 1, 0]], axis=1)
    shift = off[:, :3, :3] @ center + off[:, :3, 3] - center
    sd = np.sqrt(np.diagonal(motion.covariance, axis1=1, axis2=2))
    judged = scored & trusted
    judged[[0, motion.reference]] = False
    cover = [
        float((abs(error[judged]) <= _INTERVAL * of[judged]).mean()) if judged.any() else np.nan
        for error, of in ((shift, sd[:, 3:]), (turn, sd[:, :3]))
    ]
    return {
        "zero": [float(np.median(from_zero[scored])), float(np.quantile(from_zero[scored], 0.95))],
        "error": [float(np.median(free[scored])), float(np.quantile(free[scored], 0.95))],
        "far": int(far.sum()),
        "scored": int(scored.sum()),
        "cover": cover,
        "frames": free.round(2).tolist(),
    }


def _distances(poses: Float64, truth: Float64, points: Float64) -> Float64:
    gap = poses - truth
    return np.linalg.norm(points @ gap[:, :3, :3].mT + gap[:, None, :3, 3], axis=-1).mean(axis=1)


def _common_motion(poses: Float64, truth: Float64, points: Float64) -> Float64:
    """The motion that, put before all poses, brings the median frame nearest to the truth."""
    onto = np.linalg.inv(poses) @ truth
    moved = points @ onto[:, :3, :3].mT + onto[:, None, :3, 3]
    return kabsch(points, np.median(moved, axis=0))


def run(
    data: Path, out: Path, only: Sequence[str], reference: str, mask: bool, threads: int
) -> int:
    """Print a table of all series, and write the results of each to a JSON file."""
    chosen = [case for case in cases(data) if not only or any(o in case.name for o in only)]
    if not chosen:
        print(f"benchmarks: {data}: no series of semireal/, phantom/ or epi/; give --data")
        return 2
    out.mkdir(parents=True, exist_ok=True)
    command = "python -m benchmarks " + shlex.join(sys.argv[1:])
    lines = [list(COLUMNS)]
    for case in chosen:
        # a process each, so that none inherits another's caches
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            row = pool.submit(measure, case, reference, mask, threads).result()
        row |= circumstances(command, threads)
        (out / f"{case.name}.json").write_text(json.dumps(row))
        lines.append(line(row))
        print(" | ".join(lines[-1]), flush=True)
    print(markdown_table(lines))
    return 0


def figures(rows: Sequence[dict[str, Any]]) -> tuple[Figure, ...]:
    """Figures that sum the table up, with their targets."""
    known = [row for row in rows if "error" in row]
    cover = [round(100 * share) for row in known for share in row["cover"]]
    worse = sum(row["sd"][1] > 1.01 * row["sd"][0] for row in rows)
    far, scored = (sum(row[name] for row in known) for name in ("far", "scored"))
    limits = {"at_least": 90, "at_most": 97}
    found = [
        Figure("series with an SD over time 1 % above the raw one", worse, of=len(rows), at_most=0),
        Figure("frames more than 2 mm off and not flagged", far, of=scored, at_most=2),
        Figure("95 % intervals, lowest share that holds", min(cover), "%", **limits),
        Figure("95 % intervals, highest share that holds", max(cover), "%", **limits),
    ]
    for series, what, unit, limit, value in _OWN_TARGETS:
        if values := [value(row) for row in rows if row["name"].startswith(series)]:
            most = Decimal(number(max(values)))
            found.append(Figure(f"{series}: {what}", most, unit, at_most=Decimal(limit)))
    return tuple(found)


def line(row: dict[str, Any]) -> list[str]:
    """Cells of a series, as `COLUMNS` names them."""
    known = "error" in row
    pair = [f"{number(a)} / {number(b)}" for a, b in (row["error"], row["zero"])] if known else []
    status = ", ".join(f"{count} {word}" for word, count in row["status"].items())
    return [
        row["name"],
        str(row["mode"]),
        *(pair or ["", ""]),
        f"{row['far']} of {row['scored']}" if known else "",
        " / ".join(f"{100 * c:.0f}" for c in row["cover"]) if known else "",
        number(row["fd"]),
        f"{row['sd'][0]:.2f} → {row['sd'][1]:.2f}",
        status,
        f"{row['cpu']:.0f}",
    ]

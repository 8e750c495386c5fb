"""One tool on one series, in a process of its own: started by `benchmarks.runner`.

``python -m benchmarks.worker job.json``: reads the job, leaves ``poses.npy`` and ``measured.json``
beside it. Imports and the writing of files for external programs happen before the clock starts.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.series import load
from benchmarks.tools import TOOLS, Problem
from benchmarks.tools.base import WATCH, peak_mib
from benchmarks.tools.conventions import to_world


def main(job_path: str) -> int:
    """Run the job."""
    folder = Path(job_path).resolve().parent
    job = json.loads(Path(job_path).read_text())
    try:
        measured = _run(job, folder)
    except Exception:  # whatever a peer throws belongs in its report
        traceback.print_exc()
        measured = {"error": traceback.format_exc(limit=-3)}
    (folder / "measured.json").write_text(json.dumps(measured))
    return 0


def _run(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    tool = TOOLS[job["tool"]]
    problem = _problem(job, folder)
    run = tool.prepare(problem)
    baseline = peak_mib()
    cpu, clock = _cpu_seconds(tool.external), time.perf_counter()
    estimate = run()
    seconds = time.perf_counter() - clock
    cpu_seconds = _cpu_seconds(tool.external) - cpu
    poses = np.asarray(estimate.poses, dtype=np.float64)
    frames = problem.data.shape[3]
    if poses.shape != (frames, 4, 4):
        raise ValueError(f"{tool.name} left poses {poses.shape} for {frames} frames")
    if tool.plain:
        poses = to_world(poses, problem.affine, problem.plain)
    np.save(folder / "poses.npy", poses)
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_mib": WATCH.peak_mib if tool.external else peak_mib(),
        # interpreter, imports and the series, before the tool starts
        "baseline_mib": 0.0 if tool.external else baseline,
        "status": None if estimate.status is None else list(estimate.status),
        "commands": WATCH.commands[:2],
    }


def _problem(job: dict[str, Any], folder: Path) -> Problem:
    series = load(Path(job["series"]))
    masked = job["mask"] != "none"
    scratch = folder / "files"
    scratch.mkdir()
    return Problem(
        data=series.data,
        affine=series.affine,
        reference=series.reference,
        repetition_time=series.repetition_time,
        mask=series.brain if masked else None,
        frame_masks=series.masks if job["mask"] == "oracle" else None,
        folder=scratch,
        threads=job["threads"],
        device=job["device"],
    )


def _cpu_seconds(external: bool) -> float:
    """User and system time of finished children, and of this process unless only they count."""
    who = [resource.RUSAGE_CHILDREN] + ([] if external else [resource.RUSAGE_SELF])
    usages = [resource.getrusage(w) for w in who]
    return sum(u.ru_utime + u.ru_stime for u in usages)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

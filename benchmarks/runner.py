"""Run a tool on a scenario, compare with the truth, write the JSON."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import circumstances
from benchmarks.metrics import correction_quality, pose_errors, summary
from benchmarks.scenarios import SCENARIOS
from benchmarks.series import ROOT, cached
from benchmarks.tools import TOOLS
from benchmarks.tools.base import thread_environment


@dataclass(frozen=True)
class Options:
    """Options of a run.

    Parameters
    ----------
    out, cache
        Folders of results and of simulated series.
    frames
        Of every series; None for the scenario's own number.
    mask
        What the tools are told: nothing, the reference frame's brain, or every frame's.
    threads, device
        What a tool may use.
    timeout
        Seconds after which a tool is ended.
    data
        Folder of real data, for scenarios that use any.
    """

    out: Path
    cache: Path
    data: Path
    frames: int | None = None
    mask: str = "none"
    threads: int = 2
    device: str = "cpu"
    timeout: float = 3600.0


def run(tool: str, scenario: str, seed: int, options: Options, command: str) -> Path:
    """Run a tool on a scenario; its JSON's path."""
    what = SCENARIOS[scenario]
    frames = options.frames or what.frames
    series, file = cached(
        lambda: what.make(frames, seed, options.data), options.cache, scenario, seed, frames
    )
    record: dict[str, Any] = {
        "tool": tool,
        "tool_version": TOOLS[tool].version(),
        "tool_options": TOOLS[tool].options,
        "scenario": scenario,
        "scenario_description": what.description,
        "seed": seed,
        "frames": len(series.poses),
        "shape": list(series.data.shape[:3]),
        "mask": options.mask,
        "device": options.device,
        **circumstances(command, options.threads),
    }
    poses, measured = estimate(tool, file, options)
    record |= measured
    if poses is not None:
        count = len(poses)
        record["seconds_per_volume"] = record["seconds"] / count
        record["cpu_seconds_per_volume"] = record["cpu_seconds"] / count
        errors = pose_errors(poses, series.poses, series.brain_points)
        record["metrics"] = summary(errors.without(series.reference)) | correction_quality(
            series, poses
        )
        record["reference"] = series.reference
        record["per_frame"] = {k: v.tolist() for k, v in vars(errors).items()}
        record["poses"] = poses.tolist()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{tool}_{scenario}_mask-{options.mask}_seed{seed}.json"
    path.write_text(json.dumps(_finite(record), indent=1) + "\n")
    return path


def estimate(tool: str, series: Path, options: Options) -> tuple[np.ndarray | None, dict[str, Any]]:
    """Poses ``(T, 4, 4)`` of a series in the cache, and what was measured, in a new process."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        job = {
            "tool": tool,
            "series": str(series.resolve()),
            "mask": options.mask,
            "threads": options.threads,
            "device": options.device,
        }
        (folder / "job.json").write_text(json.dumps(job))
        log = folder / "log.txt"
        with log.open("w") as out:
            try:
                subprocess.run(
                    [sys.executable, "-m", "benchmarks.worker", str(folder / "job.json")],
                    cwd=ROOT,
                    env=thread_environment(options.threads),
                    stdout=out,
                    stderr=out,
                    timeout=options.timeout,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return None, {"error": f"ended after {options.timeout:.0f} s"}
        try:
            measured = json.loads((folder / "measured.json").read_text())
        except FileNotFoundError:  # killed
            tail = log.read_text(errors="replace")[-2000:]
            return None, {"error": f"left nothing:\n{tail}"}
        poses = None if "error" in measured else np.load(folder / "poses.npy")
        return poses, measured


def _finite(value: Any) -> Any:
    """Put None for infinity and NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

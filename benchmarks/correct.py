"""`unimo-correct` from start to end: processor seconds and memory, by the number of volumes.

Each call is a process of its own with one thread, and writes all of its outputs. What a further
volume costs is the difference between the longest and the shortest series, by the number of
volumes between them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from benchmarks.scenarios import SCENARIOS
from unimo_bids.markdown import markdown_table

HEADS = ("adult-small-head", "fetal-small-head")
# its own peak: what the system tells of a child holds that of its parent before it began
_CORRECT = """
import pathlib, re, sys
from unimo_bids.cli.correct import main
code = main([*sys.argv[1:], "--threads", "1", "--overwrite"])
status = pathlib.Path("/proc/self/status").read_text()
print(re.search(r"VmHWM:\\s+(\\d+)", status)[1])
sys.exit(code)
"""


def measure(data: Path, volumes: Sequence[int]) -> int:
    """Print a table of both heads."""
    lines = [["head", *(f"{n} volumes, CPU s" for n in volumes), "a further one", "peak, MiB"]]
    for head in HEADS:
        with tempfile.TemporaryDirectory() as folder:
            whole = _written(head, max(volumes), data, Path(folder))
            costs = [_cost(_first(whole, n), Path(folder) / "out") for n in volumes]
        seconds, mib = zip(*costs, strict=True)
        more = (seconds[-1] - seconds[0]) / max(1, volumes[-1] - volumes[0])
        told = [f"{one:.1f}" for one in seconds]
        lines.append([head, *told, f"{more:.3f}", ", ".join(f"{one:.0f}" for one in mib)])
    print(markdown_table(lines))
    return 0


def _written(head: str, frames: int, data: Path, folder: Path) -> Path:
    series = SCENARIOS[head].make(frames, 0, data)
    path = folder / "bold.nii.gz"
    image = nib.Nifti1Image(np.round(series.data).astype(np.int16), series.affine)
    nib.save(image, path)
    return path


def _first(path: Path, volumes: int) -> Path:
    part = path.with_name(f"first{volumes}.nii.gz")
    nib.save(nib.load(path).slicer[..., :volumes], part)
    return part


def _cost(path: Path, out: Path) -> tuple[float, float]:
    """Processor seconds of a call, and its peak memory, MiB."""
    command = [sys.executable, "-c", _CORRECT, str(path), str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    before = os.times()
    done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    after = os.times()
    seconds = after.children_user - before.children_user
    seconds += after.children_system - before.children_system
    return seconds, int(done.stdout.split()[-1]) / 1024

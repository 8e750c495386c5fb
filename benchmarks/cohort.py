"""Thousands of participants: what it takes to plan their jobs, to begin one, and to sum them up.

`python -m benchmarks cohort` makes datasets of growing size, their series all zeros, and measures,
each in a process of its own: `unimo-bids-slurm`, `unimo-bids --dry-run` of one participant (what
each job does before it computes), and the group level on summaries of all runs.
"""

from __future__ import annotations

import functools
import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from unimo_bids.bids.names import participant_folder
from unimo_bids.reports.summary import COLUMNS

RUNS = 2
SHAPE = (64, 64, 36, 200)
_TITLES = ("participants", "runs", "plan, CPU s", "plan, MiB", "begin one, CPU s", "begin one, MiB",
           "group, CPU s", "group, MiB")  # fmt: skip


def measure(sizes: Sequence[int]) -> int:
    """Print a table, a row for each number of participants."""
    print(f"| {' | '.join(_TITLES)} |")
    print(f"|{' ---: |' * len(_TITLES)}")
    for size in sizes:
        with tempfile.TemporaryDirectory() as temporary:
            print(_row(Path(temporary), size), flush=True)
    return 0


def _row(folder: Path, size: int) -> str:
    raw, out = folder / "raw", folder / "out"
    for number in range(1, size + 1):
        _participant(raw, out, f"{number:04}")
    (raw / "dataset_description.json").write_text('{"Name": "cohort", "BIDSVersion": "1.10.0"}')
    (raw / "task-rest_bold.json").write_text('{"TaskName": "rest", "RepetitionTime": 2.0}')
    work = ["--work-dir", str(folder / "work"), "--skip-bids-validation"]
    one = ["--participant-label", f"{size:04}", "--dry-run"]
    new = str(folder / "new")
    cells = [
        *_spent("unimo_bids.cli.slurm", str(raw), new, "participant", *work),
        *_spent("unimo_bids.cli.run", str(raw), new, "participant", *work, *one),
        *_spent("unimo_bids.cli.run", str(raw), str(out), "group"),
    ]
    return f"| {size} | {size * RUNS} | " + " | ".join(cells) + " |"


def _participant(raw: Path, out: Path, label: str) -> None:
    """An anatomical image and some runs, and the summaries that results would have."""
    for kind in ("anat", "func"):
        (raw / f"sub-{label}" / kind).mkdir(parents=True)
    (raw / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz").touch()
    figures = out / participant_folder(label) / "figures"
    figures.mkdir(parents=True)
    for run in range(1, RUNS + 1):
        name = f"sub-{label}_task-rest_run-{run}"
        func = raw / f"sub-{label}" / "func"
        (func / f"{name}_bold.nii.gz").write_bytes(_series())
        (func / f"{name}_bold.json").write_text("{}")
        numbers = {column.name: 1.5 for column in COLUMNS}
        summary = {"entities": name, "facts": {}, "warnings": [], "numbers": numbers}
        path = figures / f"{name}_desc-summary_bold.json"
        path.write_text(json.dumps(summary | {"candidates": []}))


@functools.cache
def _series() -> bytes:
    """Pack a series of zeros, as small as they come."""
    image = nib.Nifti1Image(np.zeros(SHAPE, np.int16), np.diag([3.0, 3.0, 3.0, 1.0]))
    return gzip.compress(image.to_bytes(), 9)


def _spent(module: str, *words: str) -> tuple[str, str]:
    """CPU seconds and largest memory, MiB, of a command."""
    # what the system counts as largest begins with what this process has
    program = (
        "import atexit, pathlib, runpy, sys;"
        "said = pathlib.Path('/proc/self/status').read_text;"
        "atexit.register(lambda: print(said().split('VmHWM:')[1].split()[0], file=sys.stderr));"
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = process.stderr.read().split()
    _, status, used = os.wait4(process.pid, 0)
    if status != 0:
        raise RuntimeError(f"{module} ended with {os.waitstatus_to_exitcode(status)}")
    return f"{used.ru_utime + used.ru_stime:.1f}", f"{int(said[-1]) / 1024:.0f}"

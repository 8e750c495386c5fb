"""The whole app on one run, against the motion estimate alone: wall time and memory.

`python -m benchmarks app` makes a dataset with a run of 64×64×40×300, estimates its motion in one
process, then runs `unimo-bids` on it; both with the same number of threads. Memory is that of all
processes together (proportional set size, so that shared pages count once), sampled.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import torch

from unimo_bids.simulation import adult_head, kinematics, simulate
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.resampling import resample
from unimo_bids.spatial.warp import Rigid

SHAPE, VOXEL_MM, FRAMES, TR = (64, 64, 40), 3.3, 300, 2.0
_EVERY_S = 0.2
_ESTIMATE = (
    "import sys, torch; torch.set_num_threads(int(sys.argv[2]));"
    "from unimo_bids import estimate_motion, read_series;"
    "series = read_series(sys.argv[1]); estimate_motion(series, series.affine)"
)


def compare(folder: Path, frames: int = FRAMES, threads: int = 1) -> dict[str, float]:
    """Time the estimate alone and the app; seconds, their ratio, and peak memory in MiB."""
    bold = _dataset(folder / "bids", frames)
    alone = _watched([sys.executable, "-c", _ESTIMATE, str(bold), str(threads)])
    app = _watched(
        [
            *(sys.executable, "-m", "unimo_bids.cli.run"),
            *(str(folder / "bids"), str(folder / "out"), "participant"),
            *("--work-dir", str(folder / "work"), "--skip-bids-validation"),
            *("--omp-nthreads", str(threads), "--resource-monitor"),
        ]
    )
    return {
        "frames": frames,
        "threads": threads,
        "estimate_s": alone[0],
        "app_s": app[0],
        "ratio": app[0] / alone[0],
        "estimate_mib": alone[1],
        "app_mib": app[1],
    }


def _dataset(folder: Path, frames: int) -> Path:
    """Move one simulated frame about: what is measured is time, not accuracy."""
    still = simulate(
        adult_head(), kinematics.still(2), shape=SHAPE, voxel_sizes=VOXEL_MM, repetition_time=TR
    )
    volume, grid = torch.from_numpy(still.data[..., 0].copy()), Grid.of(SHAPE, still.affine)
    poses = torch.from_numpy(kinematics.smooth_with_spikes(frames, 1.0, 1.0, seed=0))
    generator = torch.Generator().manual_seed(0)
    series = np.empty((*SHAPE, frames), dtype=np.int16)
    for t, pose in enumerate(poses):
        noise = 15 * torch.randn(SHAPE, generator=generator)
        back = Rigid(torch.linalg.inv(pose))  # `resample` takes a motion away
        series[..., t] = (resample(volume, grid, back) + noise).clamp(min=0)
    func = folder / "sub-01" / "func"
    func.mkdir(parents=True)
    about = {"Name": "One long run", "BIDSVersion": "1.9.0", "DatasetType": "raw"}
    (folder / "dataset_description.json").write_text(json.dumps(about))
    sidecar = {"TaskName": "rest", "RepetitionTime": TR}
    (func / "sub-01_task-rest_bold.json").write_text(json.dumps(sidecar))
    image = nib.Nifti1Image(series, still.affine)
    image.header.set_zooms((*image.header.get_zooms()[:3], TR))
    nib.save(image, func / "sub-01_task-rest_bold.nii.gz")
    return func / "sub-01_task-rest_bold.nii.gz"


def _watched(command: list[str]) -> tuple[float, float]:
    """Seconds and peak MiB of a command and all its children."""
    started, peak = time.monotonic(), 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, _memory(watched))
            time.sleep(_EVERY_S)
        seconds = time.monotonic() - started
        if process.returncode:
            raise RuntimeError(process.stderr.read().decode()[-2000:])
    return seconds, peak / 2**20


def _memory(process: psutil.Process) -> int:
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_full_info().pss
        except psutil.Error:
            continue  # it has just ended
    return total


def main(frames: int = FRAMES, threads: int = 1) -> int:
    """Print the comparison as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        found = compare(Path(folder), frames, threads)
    print(json.dumps({name: round(value, 2) for name, value in found.items()}, indent=2))
    return 0

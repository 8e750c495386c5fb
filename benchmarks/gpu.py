"""What a GPU brings: 20 volumes of 96³ tracked, refined and resampled, and the networks alone.

`benchmarks/gpu.sh FOLDER` runs the tests marked `gpu`, this and the whole app, and leaves JSON
files there; with `SMALL=1` it takes sizes that a CPU does in a minute.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import numpy as np
import torch

from unimo_bids import correct_series, estimate_motion
from unimo_bids.brain.extraction import extract_brain
from unimo_bids.motion.settings import MotionSettings
from unimo_bids.simulation import adult_head, kinematics, simulate

_WHOLE, _SMALL = (96, 20), (32, 4)  # voxels along an edge, frames
_FIELD_MM = 240.0


def measure(device: str, *, small: bool = False) -> dict[str, float | str]:
    """Seconds of each part on a device, and the most memory it took there.

    Each part is done twice and the second time counts: the first one chooses kernels.
    """
    edge, frames = _SMALL if small else _WHOLE
    run = simulate(
        adult_head(),
        kinematics.smooth_with_spikes(frames, 2.0, 3.0, seed=0),
        shape=(edge, edge, edge),
        voxel_sizes=_FIELD_MM / edge,
    )
    volumes = run.data.astype(np.float32)
    bare = MotionSettings(refine=False)
    poses = estimate_motion(volumes, run.affine, device=device).poses
    parts: dict[str, Callable[[], object]] = {
        "tracked and refined": lambda: estimate_motion(volumes, run.affine, device=device),
        "pose network alone": lambda: estimate_motion(
            volumes, run.affine, device=device, settings=bare
        ),
        "resampled": lambda: deque(
            correct_series(volumes, run.affine, poses, device=device), maxlen=0
        ),
        "brain networks": lambda: extract_brain(
            volumes[..., 0], run.affine, method="unimo", device=device
        ),
    }
    taken = {name: _seconds(work, device) for name, work in parts.items()}
    cuda = device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name(device) if cuda else "CPU",
        "voxels": edge,
        "frames": frames,
        **{f"{name}, s": round(seconds, 3) for name, seconds in taken.items()},
        "memory, MiB": round(torch.cuda.max_memory_allocated() / 2**20) if cuda else 0,
    }


def _seconds(work: Callable[[], object], device: str) -> float:
    for _ in range(2):
        _wait(device)
        started = time.perf_counter()
        work()
        _wait(device)
    return time.perf_counter() - started


def _wait(device: str) -> None:
    """Kernels are started, not finished, when a call returns."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)

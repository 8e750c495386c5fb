"""What this machine has, and how much of it one step should take."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

from unimo_bids.settings import Settings

# beyond, the small operations of registration wait for each other more than they gain
_MOST_THREADS = 4


@dataclass(frozen=True)
class Resources:
    """What the nodes of a run may take together, and each of them.

    Attributes
    ----------
    nprocs, mem_gb, n_gpu
        All together.
    omp_nthreads
        Threads of one node.
    """

    nprocs: int
    mem_gb: float
    n_gpu: int
    omp_nthreads: int


def resources(settings: Settings, runs: int) -> Resources:
    """Decide what was not given: all processors and nine tenths of the memory.

    Several runs side by side use processors better than several threads in one.
    """
    nprocs = settings.nprocs or len(os.sched_getaffinity(0))
    threads = settings.omp_nthreads or max(1, min(_MOST_THREADS, nprocs // max(1, runs)))
    memory = settings.mem_gb or 0.9 * psutil.virtual_memory().total / 2**30
    gpus = (settings.gpus or 1) if wants_gpu(settings.device) else 0
    return Resources(nprocs, memory, gpus, min(threads, nprocs))


def wants_gpu(device: str) -> bool:
    """Whether nodes will compute on a GPU; without touching it, as workers are yet to start."""
    present = Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None
    return device.startswith("cuda") or (device == "auto" and present)

"""What this machine has, and how much of it one step should take."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from unimo_bids.errors import MachineError
from unimo_bids.execution.memory import available_gb
from unimo_bids.settings import Settings

# Sums in another order differ in the last digit: so that results do not depend on the machine or
# on how many runs were chosen, this is fixed. Runs side by side use processors better, too.
_THREADS = 1
# Less than any step needs: one that needs more than there is runs alone.
_ALONE_GB = 0.1


@dataclass(frozen=True)
class Resources:
    """What the nodes of a run may take together, and how many threads each of them."""

    nprocs: int
    mem_gb: float
    n_gpu: int
    omp_nthreads: int


def resources(settings: Settings) -> Resources:
    """Fill in what was not given: all processors, and nine tenths of the available memory.

    Raises `MachineError`: a GPU is asked for where there is none.
    """
    if settings.device.startswith("cuda") and not _has_gpu():
        finding = "there is no CUDA device here, or PyTorch was installed without CUDA"
        raise MachineError(f"--device {settings.device}", finding, "use --device cpu or auto")
    nprocs = settings.nprocs or len(os.sched_getaffinity(0))
    threads = settings.omp_nthreads or _THREADS
    memory = settings.mem_gb or 0.9 * available_gb()
    if settings.low_mem:
        memory = _ALONE_GB
    wanted = settings.device.startswith("cuda") or (settings.device == "auto" and _has_gpu())
    gpus = (settings.gpus or 1) if wanted else 0
    return Resources(nprocs, memory, gpus, min(threads, nprocs))


def _has_gpu() -> bool:
    """Whether nodes can compute on a GPU; without touching it, as workers are yet to start."""
    present = Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None
    return present and not version("torch").endswith("+cpu")

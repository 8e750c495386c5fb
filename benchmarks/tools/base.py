"""What a tool is given, what it leaves, and how an external command is run and watched."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from benchmarks.tools.conventions import plain_affine


@dataclass(frozen=True)
class Problem:
    """A series whose motion is to be estimated.

    Parameters
    ----------
    data, affine, reference, repetition_time
        As of `BenchmarkSeries`.
    mask
        ``(X, Y, Z)`` brain of the reference frame, or None.
    frame_masks
        ``(X, Y, Z, T)`` brain of every frame, or None.
    folder
        Empty, for the tool's files.
    threads
        How many the tool may use.
    device
        For tools that can use an accelerator.
    """

    data: NDArray[np.float32]
    affine: NDArray[np.float64]
    reference: int
    repetition_time: float
    mask: NDArray[np.float32] | None
    frame_masks: NDArray[np.uint8] | None
    folder: Path
    threads: int = 2
    device: str = "cpu"

    @property
    def plain(self) -> NDArray[np.float64]:
        """Affine ``(4, 4)`` of the grid that peers see."""
        return plain_affine(self.data.shape, self.affine)

    def frame(self, t: int) -> NDArray[np.float32]:
        """One frame ``(X, Y, Z)`` as peers see it: masked where every frame has a mask."""
        frame = self.data[..., t]
        return frame if self.frame_masks is None else frame * self.frame_masks[..., t]

    def write_series(self) -> Path:
        """Write the series as peers see it, NIfTI float32."""
        data = self.data if self.frame_masks is None else self.data * self.frame_masks
        return self.write_image("series.nii", data, (self.repetition_time,))

    def write_frame(self, t: int) -> Path:
        """Write one frame as peers see it, NIfTI float32."""
        return self.write_image(f"frame{t:04d}.nii", self.frame(t))

    def write_mask(self) -> Path | None:
        """Write the mask of the reference frame, NIfTI float32."""
        return None if self.mask is None else self.write_image("mask.nii", self.mask)

    def write_image(self, name: str, data: NDArray[np.float32], more: Sequence[float] = ()) -> Path:
        """Write any volume, or a series, on the plain grid, NIfTI float32."""
        path = self.folder / name
        image = nib.Nifti1Image(np.asarray(data, dtype=np.float32), self.plain)
        image.header.set_xyzt_units("mm", "sec")
        image.header.set_zooms((*np.linalg.norm(self.plain[:3, :3], axis=0), *more))
        image.to_filename(path)
        return path


@dataclass(frozen=True)
class Estimate:
    """Result of a tool: poses ``(T, 4, 4)``, and the status of every frame if it gives one.

    Peers' poses are on the plain grid; a frame the tool gave up on is NaN.
    """

    poses: NDArray[np.float64]
    status: Sequence[str] | None = None


@dataclass(frozen=True)
class Tool:
    """A tool that estimates motion.

    Parameters
    ----------
    name
        As on the command line.
    version
        What is installed; None where the tool is not.
    prepare
        Imports and writes files, which is not timed, and returns what is.
    options
        How the tool is used, in one line.
    external
        A program of its own: its processes are what is timed and weighed.
    plain
        It sees the plain grid (peers), not the series' own affine.
    slow
        Left out of the short set: slow, or of interest to developers only.
    """

    name: str
    version: Callable[[], str | None]
    prepare: Callable[[Problem], Callable[[], Estimate]]
    options: str
    external: bool = False
    plain: bool = True
    slow: bool = False


def package_version(package: str) -> Callable[[], str | None]:
    """Finder of an installed Python package's version."""

    def find() -> str | None:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return None

    return find


def first_line(program: str, *command: str) -> str | None:
    """First line that a command prints, None if ``program`` is not on the path."""
    where = shutil.which(program)
    if where is None:
        return None
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=False, errors="replace"
        )
        lines = (done.stdout or done.stderr).strip().splitlines()
    except (OSError, subprocess.TimeoutExpired):
        lines = []
    return lines[0] if lines else where


class Watch:
    """Peak memory of external commands, MiB, and what they were."""

    def __init__(self) -> None:
        self.peak_mib = 0.0
        self.commands: list[str] = []

    def run(self, command: Sequence[str | Path], folder: Path) -> None:
        """Run a command in a folder and wait; its output goes to ``log.txt`` there."""
        words = [str(word) for word in command]
        self.commands.append(" ".join(words))
        log = folder / "log.txt"
        with log.open("a") as out:
            process = subprocess.Popen(words, cwd=folder, stdout=out, stderr=out)
            done = threading.Event()
            watcher = threading.Thread(target=self._watch, args=(process.pid, done), daemon=True)
            watcher.start()
            code = process.wait()
            done.set()
            watcher.join()
        if code != 0:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise RuntimeError(f"{words[0]} ended with {code}:\n{tail}")

    def _watch(self, pid: int, done: threading.Event) -> None:
        while True:
            self.peak_mib = max(self.peak_mib, *(peak_mib(p) for p in _family(pid)))
            if done.wait(0.01):
                return


def peak_mib(pid: int | str = "self") -> float:
    """Peak resident memory of a process so far, MiB; 0 once it is gone.

    Not ``ru_maxrss``: on Linux that starts with what the parent held when it forked.
    """
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def _family(pid: int) -> list[int]:
    """Find a process and its descendants."""
    family = [pid]
    for member in family:
        try:
            children = Path(f"/proc/{member}/task/{member}/children").read_text().split()
        except OSError:
            continue
        family.extend(int(child) for child in children)
    return family


WATCH = Watch()


def thread_environment(threads: int) -> dict[str, str]:
    """Environment that holds every tool to so many threads, and to the same random numbers."""
    names = (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    )
    # ANTs otherwise samples other voxels every time
    return {**os.environ, **dict.fromkeys(names, str(threads)), "ANTS_RANDOM_SEED": "1"}

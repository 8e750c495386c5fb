"""A benchmark series: the data, the truth about them, and their cache on disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class BenchmarkSeries:
    """A series with known motion, T frames.

    Attributes
    ----------
    data, affine, poses, brain, brain_points, reference, repetition_time
        As of `unimo_bids.simulation.SimulatedSeries`.
    masks
        ``(X, Y, Z, T)`` brain in every frame.
    activation, regressor
        ``(X, Y, Z)`` relative change and ``(T,)`` how active, both empty where nothing is.
    """

    data: NDArray[np.float32]
    affine: NDArray[np.float64]
    poses: NDArray[np.float64]
    brain: NDArray[np.float32]
    brain_points: NDArray[np.float64]
    masks: NDArray[np.uint8]
    reference: int
    repetition_time: float
    activation: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    regressor: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))


def cached(
    make: Callable[[], BenchmarkSeries], folder: Path, scenario: str, seed: int, frames: int
) -> tuple[BenchmarkSeries, Path]:
    """Find a series in the cache or make it, so that all tools get the same bytes.

    The file's name ends in a hash of the code that makes series; files of older code are removed.
    """
    stem = f"{scenario}_seed{seed}_{frames}frames"
    path = folder / f"{stem}_{_code_hash()}.npz"
    if path.exists():
        return load(path), path
    series = make()
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{stem}_*.npz"):
        old.unlink()
    partial = folder / f"{path.name}.{os.getpid()}.partial"
    save(series, partial)
    partial.replace(path)
    return series, path


def save(series: BenchmarkSeries, path: Path) -> None:
    """Write a series."""
    with path.open("wb") as out:
        np.savez(out, **{f.name: getattr(series, f.name) for f in fields(BenchmarkSeries)})


def load(path: Path) -> BenchmarkSeries:
    """Read a series from the cache."""
    with np.load(path) as content:
        values = {f.name: content[f.name] for f in fields(BenchmarkSeries)}
    values["reference"] = int(values["reference"])
    values["repetition_time"] = float(values["repetition_time"])
    return BenchmarkSeries(**values)


@cache  # what is being edited meanwhile must not part the tools of a run
def _code_hash() -> str:
    code = [
        *sorted((ROOT / "unimo_bids" / "simulation").glob("*.py")),
        ROOT / "benchmarks" / "scenarios.py",
        ROOT / "benchmarks" / "moved.py",
    ]
    digest = hashlib.sha256()
    for path in code:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:10]

"""How heads move while they are scanned: recorded in utero, made up for adults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import make_interp_spline
from scipy.special import expit

from unimo_bids.errors import InputError
from unimo_bids.qc.framewise import unwrapped
from unimo_bids.simulation.kinematics import synthetic_fetal
from unimo_bids.spatial import rigid
from unimo_bids.training.scanner import Random

_HOLD_BACK = 4  # every so many dates, the last is kept for validation


@dataclass(frozen=True)
class Recording:
    """The motion of a head.

    Attributes
    ----------
    turn, shift
        ``(N, 3)`` rotation vector, rad, continuous over time, and mm.
    name
        Of the recording; its first six digits are the date.
    """

    turn: NDArray[np.float64]
    shift: NDArray[np.float64]
    step_s: float
    name: str
    held_back: bool

    @property
    def seconds(self) -> float:
        """From its first pose to its last."""
        return self.step_s * (len(self.turn) - 1)

    def at(self, times: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rotation vectors and shifts ``(..., 3)`` at times ``(...)`` in seconds."""
        known = np.concatenate([self.turn, self.shift], axis=1)
        way = make_interp_spline(self.step_s * np.arange(len(known)), known, k=3)
        found = way(np.clip(times, 0, self.seconds))
        return found[..., :3], found[..., 3:]


def recorded(path: Path) -> list[Recording]:
    """All recordings of a file, every fourth date held back."""
    try:
        with np.load(path) as file:
            names = sorted(k.removesuffix("_dt_s") for k in file if k.endswith("_dt_s"))
            dates = sorted({name[:6] for name in names})
            kept = set(dates[_HOLD_BACK - 1 :: _HOLD_BACK])
            return [
                Recording(
                    turn=unwrapped(file[f"{name}_rotvec_rad"].astype(np.float64)),
                    shift=file[f"{name}_trans_mm"].astype(np.float64),
                    step_s=float(file[f"{name}_dt_s"]),
                    name=name,
                    held_back=name[:6] in kept,
                )
                for name in names
            ]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            path, f"holds no trajectories ({error})", "name an npz of recorded trajectories"
        ) from None


def fetal_like(rng: Random, frames: int, step_s: float) -> Recording:
    """Calm stretches and bursts, made up."""
    severity = str(rng.choice(["mild", "typical", "severe"]))
    poses = torch.as_tensor(synthetic_fetal(frames, severity, int(rng.integers(2**31))))
    turn, shift = rigid.to_parameters(poses)
    return Recording(unwrapped(turn.numpy()), shift.numpy(), step_s, f"made up {severity}", False)


def adult_like(rng: Random, frames: int, step_s: float, held_back: bool) -> Recording:
    """An adult's head at rest: drift, breathing, nods that come back, and jolts."""
    per_frame = 4  # breathing is quicker than frames are taken
    many, step = frames * per_frame + 1, step_s / per_frame
    times = step * np.arange(many)
    way = np.zeros((many, 6))  # rad, mm
    scale = np.array([0.01, 0.005, 0.005, 0.3, 0.3, 0.5])
    walk = rng.standard_normal((many, 6)).cumsum(axis=0) * np.sqrt(step / 60)
    way += ndimage.gaussian_filter1d(walk, 20 / step, axis=0) * scale * rng.uniform(0.3, 3)
    breath = np.sin(2 * np.pi * rng.uniform(0.2, 0.35) * times + rng.uniform(0, 6))
    way[:, [0, 5]] += breath[:, None] * rng.uniform(0, 1) * np.array([0.003, 0.2])
    for start in np.flatnonzero(rng.random(many) < rng.uniform(0, 0.03) * step):
        size = np.array([0.06, 0.02, 0.04, 1.0, 0.7, 2.0]) * rng.standard_normal(6)
        away = times - times[start]
        lasts, back = rng.uniform(1, 10), rng.uniform(0, 1)
        rise, fall = expit(away / 0.4), expit((away - lasts) / 0.6)
        way += (rise - back * fall)[:, None] * size
    way -= way[0]
    return Recording(way[:, :3], way[:, 3:], step, "made up adult", held_back)


def window(
    rng: Random, recordings: Sequence[Recording], frames: int
) -> tuple[Recording, NDArray[np.float64]]:
    """A recording and times ``(frames,)`` within it: faster or slower, at times backwards."""
    one = recordings[int(rng.integers(len(recordings)))]
    pace = float(np.exp(rng.uniform(np.log(0.6), np.log(1.5))))  # as of frames that take longer
    step = min(one.step_s * pace, one.seconds / frames)
    start = float(rng.uniform(0, one.seconds - step * (frames - 1)))
    times = start + step * np.arange(frames, dtype=np.float64)
    return one, times[::-1] if rng.random() < 0.5 else times

"""What is simulated: heads, motion and artefacts of every scenario, all with known truth.

Adult scenarios show the MNI152 head, whole (``-head``) or only its brain (``-brain``), at 3 mm.
``inutero-*`` show a fetal head in a body that stays put.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.moved import moved_bold
from benchmarks.series import BenchmarkSeries
from unimo_bids.simulation import kinematics
from unimo_bids.simulation.anatomy import adult_head
from unimo_bids.simulation.artefacts import (
    Artefact,
    ContrastChange,
    Drift,
    ReceiveBias,
    RicianNoise,
    SpinHistory,
    TornVolume,
)
from unimo_bids.simulation.fetal import fetal_head
from unimo_bids.simulation.physiology import Activation, BoldFluctuation, PhaseEncodeDistortion
from unimo_bids.simulation.series import SimulatedSeries, simulate
from unimo_bids.simulation.uterus import fetal_surroundings

Poses = NDArray[np.float64]
Motion = Callable[[int, int], Poses]  # frames, seed

ADULT_GRID = (64, 64, 40)
FETAL_GRID = (96, 96, 96)
WOMB_GRID = (96, 96, 64)
VOXEL_MM = 3.0
FETAL_TR = 2.9  # s, median of the recorded trajectories
# noise and fluctuation that together leave a tSNR of about 60 in the brain
COMMON = (BoldFluctuation(0.005), ReceiveBias(0.1), Drift(0.01), RicianNoise(1000 / 64))


@dataclass(frozen=True)
class Scenario:
    """How to make a series.

    Parameters
    ----------
    description
        In one line.
    make
        From frames, seed and the folder of real data.
    frames
        How many, unless asked otherwise.
    """

    description: str
    make: Callable[[int, int, Path], BenchmarkSeries]
    frames: int = 20


def _adult(
    frames: int,
    seed: int,
    data: Path,
    *,
    motion: Motion,
    skull: bool,
    shape: tuple[int, int, int],
    artefacts: Sequence[Artefact] = COMMON,
) -> BenchmarkSeries:
    return _known(
        simulate(
            adult_head(skull=skull),
            motion(frames, seed),
            shape=shape,
            voxel_sizes=VOXEL_MM,
            artefacts=artefacts,
            repetition_time=2.0,
            seed=seed,
        )
    )


def _inutero(
    frames: int,
    seed: int,
    data: Path,
    *,
    motion: Callable[[int, int, Path], Poses],
    artefacts: Sequence[Artefact],
) -> BenchmarkSeries:
    return _known(fetal_series(motion(frames, seed, data), artefacts, seed))


def fetal_series(poses: Poses, artefacts: Sequence[Artefact], seed: int) -> SimulatedSeries:
    """Simulate the head of a fetus of 24 to 36 weeks at some poses, in a body that stays put."""
    weeks = float(np.random.default_rng([seed, 40]).uniform(24, 36))
    head = fetal_head(round(weeks, 1), seed=seed)
    return simulate(
        head,
        poses,
        shape=WOMB_GRID,
        voxel_sizes=VOXEL_MM,
        surroundings=fetal_surroundings(seed, head_radius=1.3 * head.radius),
        artefacts=artefacts,
        repetition_time=FETAL_TR,
        seed=seed,
    )


def _known(series: SimulatedSeries) -> BenchmarkSeries:
    """Render all of the truth of a simulated series."""
    active = series.activation
    return BenchmarkSeries(
        data=np.ascontiguousarray(series.data),
        affine=series.affine,
        poses=series.poses,
        brain=series.brain,
        brain_points=series.brain_points,
        masks=series.brain_masks(),
        reference=series.reference,
        repetition_time=series.repetition_time,
        **({} if active is None else {"activation": active.map, "regressor": active.regressor}),
    )


# ------------------------------------------------------------------------------------- motion
def _at_rest_first(poses: Poses) -> Poses:
    """Put the reference at rest, so that the ranges are those of the motion between frames."""
    return np.concatenate([np.eye(4)[None], poses[1:]])


def _small(mm: float, deg: float) -> Motion:
    return lambda frames, seed: kinematics.smooth_with_spikes(frames, mm, deg, seed)


def _per_axis(mm: float, deg: float) -> Motion:
    return lambda frames, seed: _at_rest_first(kinematics.uniform_range(frames, mm, deg, seed))


def _within(mm: float, deg: float) -> Motion:
    """Independent poses: any axis and direction, angle and distance uniform up to a maximum."""

    def motion(frames: int, seed: int) -> Poses:
        rng = np.random.default_rng([seed, 60])
        vectors = rng.standard_normal((2, frames, 3))
        vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
        turn, shift = vectors * rng.uniform(0, 1, (2, frames, 1)) * [[[deg]], [[mm]]]
        return _at_rest_first(kinematics.poses_from(turn, shift))

    return motion


def _any_rotation(frames: int, seed: int) -> Poses:
    return _at_rest_first(kinematics.haar(frames, 30.0, seed))


# Of all stretches of the recorded trajectories, ordered by their mean step, these shares
_STRETCHES = {"mild": (0.0, 0.33), "typical": (0.4, 0.8), "severe": (0.9, 1.0)}


def fetal_motion(severity: str) -> Callable[[int, int, Path], Poses]:
    """Play recorded in-utero motion of that severity, or a look-alike where none is recorded."""

    def motion(frames: int, seed: int, data: Path) -> Poses:
        path = data / "trajectories" / "fetal_head_trajectories.npz"
        if not path.exists():
            return kinematics.synthetic_fetal(frames, severity, seed)
        stretches = _ranked_stretches(path, frames)
        low, high = (int(share * len(stretches)) for share in _STRETCHES[severity])
        rng = np.random.default_rng([seed, 70])
        name, start = stretches[rng.integers(low, max(high, low + 1))]
        return kinematics.replay(path, name, frames, start)

    return motion


def _ranked_stretches(path: Path, frames: int) -> list[tuple[str, int]]:
    """List recording and first frame of every stretch, the calmest first."""
    ranked = []
    with np.load(path) as recordings:
        names = sorted(k.removesuffix("_trans_mm") for k in recordings if k.endswith("_trans_mm"))
        for name in names:
            turn, shift = recordings[f"{name}_rotvec_rad"], recordings[f"{name}_trans_mm"]
            # millimetres on a fetal head's surface, 40 mm from its centre
            steps = np.linalg.norm(np.diff(shift, axis=0), axis=1)
            steps += 40 * np.linalg.norm(np.diff(turn, axis=0), axis=1)
            for start in range(0, len(shift) - frames + 1, max(frames // 2, 1)):
                ranked.append((float(steps[start : start + frames - 1].mean()), name, start))
    return [(name, start) for _, name, start in sorted(ranked)]


def _fetal_rotation(frames: int, seed: int, data: Path) -> Poses:
    return _any_rotation(frames, seed)


# -------------------------------------------------------------------------------- in-utero EPI
def fetal_artefacts(
    distortion_mm: float, history: float, noise_snr: float, more: Sequence[Artefact] = ()
) -> tuple[Artefact, ...]:
    """What goes wrong in fetal EPI, and more, in this order."""
    return (
        *more,
        BoldFluctuation(0.005),
        PhaseEncodeDistortion(distortion_mm),
        SpinHistory(strength=history),
        ReceiveBias(0.2),
        Drift(0.01),
        RicianNoise(1000 / noise_snr),
    )


_TYPICAL = fetal_artefacts(1.0, 0.5, 40)
_SEVERE = fetal_artefacts(4.0, 1.0, 25, [TornVolume(probability=0.2)])

# ------------------------------------------------------------------------------------ the list
_ADULT_FAMILIES: dict[str, tuple[str, Motion, tuple[int, int, int], Sequence[Artefact]]] = {
    "adult-small": ("1 mm, 1°, smooth with spikes", _small(1, 1), ADULT_GRID, COMMON),
    "adult-large": ("5 mm, 5°, smooth with spikes", _small(5, 5), ADULT_GRID, COMMON),
    "fetal-small": ("±10 mm, ±5° per axis", _per_axis(10, 5), FETAL_GRID, COMMON),
    "fetal-medium": ("±20 mm, ±10° per axis", _per_axis(20, 10), FETAL_GRID, COMMON),
    "fetal-large": ("±30 mm, ±20° per axis", _per_axis(30, 20), FETAL_GRID, COMMON),
    "extreme": ("up to 40 mm and 60°", _within(40, 60), FETAL_GRID, COMMON),
    "haar": ("any rotation, ±30 mm", _any_rotation, FETAL_GRID, COMMON),
    "contrast": (
        "another contrast in every frame, ±20 mm, ±10°",
        _per_axis(20, 10),
        FETAL_GRID,
        (ContrastChange(), *COMMON),
    ),
}

_CHANGING = (ContrastChange(amount=0.7), *_TYPICAL)
_INUTERO: dict[str, tuple[str, Callable[[int, int, Path], Poses], Sequence[Artefact]]] = {
    "mild": ("calm, little artefact", fetal_motion("mild"), fetal_artefacts(0.5, 0.3, 60)),
    "typical": ("some distortion and spin history", fetal_motion("typical"), _TYPICAL),
    "severe": ("lively; distortion, spin history, torn frames", fetal_motion("severe"), _SEVERE),
    "contrast": ("contrast changes in every frame", fetal_motion("typical"), _CHANGING),
    "haar": ("any rotation, ±30 mm", _fetal_rotation, _TYPICAL),
}


def _all_scenarios() -> dict[str, Scenario]:
    found = {}
    for family, (description, motion, shape, artefacts) in _ADULT_FAMILIES.items():
        for part in ("brain", "head"):
            make = partial(
                _adult, motion=motion, skull=part == "head", shape=shape, artefacts=artefacts
            )
            found[f"{family}-{part}"] = Scenario(f"adult {part}: {description}", make)
    for name, (what, fetal_motion, parts) in _INUTERO.items():
        fetus = partial(_inutero, motion=fetal_motion, artefacts=parts)
        found[f"inutero-{name}"] = Scenario(f"fetal head in a still body: {what}", fetus)
    adult = partial(_adult, skull=True, shape=ADULT_GRID)
    found["still"] = Scenario(
        "adult head that does not move",
        partial(adult, motion=lambda frames, _seed: kinematics.still(frames)),
    )
    found["activation"] = Scenario(
        "adult head: 1 mm, 1°, and a block task",
        partial(adult, motion=_small(1, 1), artefacts=(Activation(), *COMMON)),
        frames=100,
    )
    found["real"] = Scenario(
        "real BOLD volume moved by known poses within 1 mm and 1°, 20 slices",
        lambda frames, seed, data: moved_bold(data / "epi", frames, seed),
    )
    return found


SCENARIOS = _all_scenarios()

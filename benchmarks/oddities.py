"""Brain extraction where there is no whole single brain, and whether it says so.

Volumes of `unimo_bids.simulation`, which the networks' training does not use, with the artefacts of
EPI. The population is given, as the app would know it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.metrics import dice
from unimo_bids.brain.extraction import extract_brain
from unimo_bids.markdown import markdown_table
from unimo_bids.simulation.anatomy import adult_head
from unimo_bids.simulation.artefacts import ReceiveBias, RicianNoise, SpinHistory
from unimo_bids.simulation.fetal import fetal_head
from unimo_bids.simulation.render import render
from unimo_bids.simulation.series import simulate
from unimo_bids.simulation.shapes import axes_mm, centered_affine
from unimo_bids.simulation.uterus import fetal_surroundings
from unimo_bids.spatial import rigid
from unimo_bids.words import Population

Volume = NDArray[np.float32]
Drawn = tuple[Volume, NDArray[np.float64], Volume | None]  # volume, affine, brain if there is one

_SHAPE, _VOXEL_MM = (96, 96, 64), 3.5
_AFFINE = centered_affine(_SHAPE, _VOXEL_MM)
_ARTEFACTS = (ReceiveBias(0.2), SpinHistory(), RicianNoise(40.0))


def _noisy(clean: Volume, seed: int) -> Volume:
    real, imaginary = np.random.default_rng([seed, 90]).normal(0, 40, (2, *clean.shape))
    return np.hypot(clean + real, imaginary).astype(np.float32)


_NOTHING = np.zeros(_SHAPE, dtype=np.float32)


def _phantom(seed: int) -> Drawn:
    radii = np.random.default_rng([seed, 91]).uniform(40, 95, 3)
    x, y, z = axes_mm(_SHAPE, _AFFINE)
    inside = (x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2 < 1
    return _noisy((1000 * inside).astype(np.float32), seed), _AFFINE, None


def _uterus(seed: int) -> Drawn:
    """A uterus and body; where the head was, there is fluid, and it is out of the middle."""
    body = fetal_surroundings(300 + seed, head_radius=35.0)
    pose = np.eye(4)
    pose[:3, 3] = np.random.default_rng([seed, 92]).uniform(-60, 60, 3)
    return _noisy(render(body, pose, _SHAPE, _AFFINE), seed), _AFFINE, None


def _fetus(seed: int, shape: tuple[int, int, int] = _SHAPE) -> tuple[Volume, Volume]:
    """A fetal head anywhere in its uterus, and its brain."""
    rng = np.random.default_rng([seed, 93])
    head = fetal_head(float(np.round(rng.uniform(24, 36), 1)), seed=500 + seed)
    pose = np.eye(4)
    generator = torch.Generator().manual_seed(seed)
    pose[:3, :3] = rigid.random_rotations(1, generator)[0].numpy()
    series = simulate(
        head,
        pose[None],
        shape=shape,
        voxel_sizes=_VOXEL_MM,
        surroundings=fetal_surroundings(500 + seed, head_radius=1.3 * head.radius),
        artefacts=_ARTEFACTS,
        seed=seed,
    )
    return series.data[..., 0], series.brain


def _one(seed: int) -> Drawn:
    volume, brain = _fetus(seed)
    return volume, _AFFINE, brain


def _half(seed: int) -> Drawn:
    """Slices end in the middle of the brain."""
    volume, brain = _fetus(seed)
    many = _SHAPE[2] // 2
    return volume[..., :many], _AFFINE, brain[..., :many]


def _twins(seed: int) -> Drawn:
    """Two uteri side by side, each with a head."""
    shape = (64, 96, 64)
    one, other = _fetus(seed, shape), _fetus(seed + 50, shape)
    pair = [np.concatenate(both, axis=0) for both in zip(one, other, strict=True)]
    return pair[0], centered_affine((128, 96, 64), _VOXEL_MM), pair[1]


def _half_adult(seed: int) -> Drawn:
    """The lower half of the brain of an adult."""
    shape = (64, 64, 18)
    affine = centered_affine(shape, (3.5, 3.5, 4.0))
    affine[2, 3] -= 40
    series = simulate(
        adult_head(seed=seed),
        np.eye(4)[None],
        shape=shape,
        affine=affine,
        artefacts=_ARTEFACTS,
        seed=seed,
    )
    return series.data[..., 0], affine, series.brain


ODDITIES: dict[str, tuple[Callable[[int], Drawn], Population]] = {
    "a whole brain, for comparison": (_one, "fetal"),
    "half a fetal brain": (_half, "fetal"),
    "half an adult's brain": (_half_adult, "adult"),
    "twins": (_twins, "fetal"),
    "a uterus without a head": (_uterus, "fetal"),
    "a phantom": (_phantom, "adult"),
    "noise": (lambda seed: (_noisy(_NOTHING, seed), _AFFINE, None), "fetal"),
    "nothing": (lambda _seed: (_NOTHING, _AFFINE, None), "fetal"),
}


def judge(count: int) -> None:
    """Print the table."""
    lines = [
        ["in view", "volumes", "no mask", "mask with a doubt", "mask without", "of these wrong"]
    ]
    for name, (draw, population) in ODDITIES.items():
        tally = np.zeros(4, dtype=int)
        for seed in range(count):
            volume, affine, brain = draw(seed)
            try:
                found = extract_brain(volume, affine, "auto", population=population)
            except ValueError:  # nothing to see at all
                tally[0] += 1
                continue
            if not found.usable or not found.mask.any():
                tally[0] += 1
            elif found.doubts:
                tally[1] += 1
            else:
                tally[2] += 1
                tally[3] += brain is None or dice(found.mask, brain > 0.5) < 0.7
        lines.append([name, f"{count}", *map(str, tally)])
        print(lines[-1], flush=True)
    print(markdown_table(lines))

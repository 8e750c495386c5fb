"""UniMo's experiment: pairs of fetal brains, and of what no training saw, moved by known amounts.

Rendered from the continuous objects by `unimo_bids.simulation`, which the network's training does
not use, on 3 mm grids with noise, an independent receive bias, and the object's own mask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.metrics import Float, dice, pose_errors
from benchmarks.tools import TOOLS, Problem, Tool
from unimo_bids.markdown import markdown_table
from unimo_bids.networks.pose import RIGHT_DEG
from unimo_bids.registration.pair import register_volumes
from unimo_bids.simulation import kinematics
from unimo_bids.simulation.anatomy import Anatomy, adult_head, ball_radius
from unimo_bids.simulation.fetal import fetal_head
from unimo_bids.simulation.render import render
from unimo_bids.simulation.shapes import axes_mm, centered_affine, ellipsoid, smooth_noise
from unimo_bids.simulation.uterus import fetal_surroundings
from unimo_bids.spatial.grid import Grid, world_points
from unimo_bids.spatial.resampling import resample
from unimo_bids.spatial.warp import Rigid

_SHAPE, _VOXEL_MM = (80, 80, 80), 3.0
_NOISE, _BIAS = 0.03, 0.2
# white, grey, ventricle, fluid, bone, scalp, eye, air
T1 = np.array([0, 1100, 800, 300, 300, 150, 1300, 350, 15], dtype=np.float32)
T2 = np.array([0, 500, 750, 1800, 1800, 120, 700, 1900, 15], dtype=np.float32)
RANGES = {
    "10 mm 5°": (10.0, 5.0),
    "20 mm 10°": (20.0, 10.0),
    "30 mm 20°": (30.0, 20.0),
    "any rotation": (30.0, None),
}
WAYS: dict[str, dict[str, Any]] = {
    "network alone": {"refine": False},
    "network + search + refine": {},
}
PEERS = ("simpleitk", "antspyx", "3dvolreg")  # those that are on the machine


@dataclass(frozen=True)
class Modality:
    """What is scanned, and the labels that count as the object."""

    anatomy: Anatomy
    contrast: NDArray[np.float32]
    labels: tuple[int, ...]


def _head(contrast: NDArray[np.float32]) -> Callable[[int], Modality]:
    def make(seed: int) -> Modality:
        head = adult_head(seed=seed)
        return Modality(head, contrast, head.brain_labels)

    return make


def _trunk(seed: int) -> Modality:
    """A body at half its size, as CT shows it: gas black, fat dark, bone bright."""
    body = fetal_surroundings(seed, head_radius=45.0)
    affine = body.affine.copy()
    affine[:3] *= 0.5
    small = replace(body, affine=affine, texture=None)
    # amnion, placenta, wall, trunk, lung, liver, bone, muscle, bowel, gas, fat, fluid, vessel
    ct = [0, 1010, 1060, 1050, 1045, 200, 1060, 1700, 1055, 1035, 30, 900, 1005, 1045]
    return Modality(small, np.array(ct, dtype=np.float32), tuple(range(1, 14)))


def _organ(seed: int) -> Modality:
    """A lobed organ with vessels and lesions, one intensity each."""
    rng = np.random.default_rng([seed, 77])
    shape, voxel_mm = (90, 90, 90), 2.0
    affine = centered_affine(shape, voxel_mm)
    axes = tuple(axis + 6 * smooth_noise(shape, 8, rng) for axis in axes_mm(shape, affine))
    labels = (ellipsoid(axes, (0, 0, 0), (62, 45, 38)) < 0).astype(np.uint8)
    labels[(ellipsoid(axes, (30, 20, 10), (35, 25, 40)) < 0)] = 1
    inside = labels > 0
    labels[inside & (np.abs(smooth_noise(shape, 6, rng)) < 0.12)] = 2
    for _ in range(4):
        place = rng.uniform(-35, 35, 3)
        labels[inside & (ellipsoid(axes, place, tuple(rng.uniform(5, 12, 3))) < 0)] = 3
    values = np.array([0, 900, 1500, 400], dtype=np.float32)
    radius = ball_radius(inside, voxel_mm)
    anatomy = Anatomy(labels, affine, values, (1, 2, 3), None, "organ", radius)
    return Modality(anatomy, values, (1, 2, 3))


def _fetus(seed: int) -> Modality:
    """A fetal brain by itself, as UniMo shows it."""
    head = fetal_head(weeks=25.3 + 4.4 * seed, seed=seed + 500)
    alone = np.zeros_like(head.intensities)
    alone[list(head.brain_labels)] = head.intensities[list(head.brain_labels)]
    return Modality(head, alone, head.brain_labels)


MODALITIES: dict[str, Callable[[int], Modality]] = {
    "fetal brain": _fetus,
    "T1-like head": _head(T1),
    "T2-like head": _head(T2),
    "CT-like trunk": _trunk,
    "organ": _organ,
}


def judge(objects: Sequence[str] | None, count: int, threads: int, peers: bool) -> int:
    """Print the table: errors in the median, Dice with the fixed mask, and how many are right."""
    torch.set_num_threads(threads)
    ways: dict[str, Callable[[RenderedPair], Float]] = {
        way: partial(_registered, options=options) for way, options in WAYS.items()
    }
    if peers:
        ways |= {
            name: partial(_by_peer, TOOLS[name], threads) for name in PEERS if TOOLS[name].version()
        }
    lines = [
        ["object", "motion", "Dice at the truth"]
        + [f"{way}: mm, degrees, Dice, within {RIGHT_DEG:g}°" for way in ways]
    ]
    for name in objects or MODALITIES:
        make = MODALITIES[name]
        for motion, (shift, turn) in RANGES.items():
            things = [make(seed % 3) for seed in range(count)]
            pairs = [
                rendered_pair(thing, thing, shift, turn, seed) for seed, thing in enumerate(things)
            ]
            lines.append([name, motion, f"{np.mean([_dice(p, p.pose) for p in pairs]):.3f}"])
            for way in ways.values():
                poses = [way(pair) for pair in pairs]
                found = [errors_of(pair, pose) for pair, pose in zip(pairs, poses, strict=True)]
                mm, degrees = np.array(found).T
                overlap = np.mean([_dice(*both) for both in zip(pairs, poses, strict=True)])
                within = 100 * np.mean(degrees < RIGHT_DEG)
                lines[-1].append(
                    f"{np.median(mm):.2f}, {np.median(degrees):.2f}, {overlap:.3f}, {within:.0f} %"
                )
            print(lines[-1], flush=True)
    print(markdown_table(lines))
    return 0


@dataclass(frozen=True)
class RenderedPair:
    """Two volumes of one thing, its soft masks in them, and the pose that carries it over.

    The pose ``(4, 4)`` is RAS mm, fixed → moving; points ``(N, 3)`` mm lie within the fixed mask.
    """

    volumes: list[NDArray[np.float32]]
    masks: list[NDArray[np.float32]]
    affine: Float
    pose: Float
    points: Float


def rendered_pair(
    fixed: Modality, moving: Modality, shift: float, turn: float | None, seed: int
) -> RenderedPair:
    """Render two things (or one twice), up to `shift` mm and `turn` degrees apart (None: any)."""
    rng = np.random.default_rng([seed, 78])
    affine = centered_affine(_SHAPE, _VOXEL_MM)
    moves = (
        kinematics.haar(2, shift, seed)
        if turn is None
        else kinematics.uniform_range(2, shift, turn, seed)
    )
    pose = moves[1] @ np.linalg.inv(moves[0])
    volumes, masks = [], []
    for modality, at in ((fixed, np.eye(4)), (moving, pose)):
        volume, mask = rendered(modality, at, affine, rng)
        volumes.append(volume)
        masks.append(mask)
    places = world_points(_SHAPE, torch.from_numpy(affine)).numpy()
    inside = places[masks[0].ravel() > 0.5]
    return RenderedPair(volumes, masks, affine, pose, inside[:: max(1, len(inside) // 2000)])


def rendered(
    modality: Modality, pose: Float, affine: Float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A thing at a pose, with noise and a receive field, and its soft mask, 80³ voxels each."""
    own = replace(modality.anatomy, intensities=modality.contrast)
    whole = np.zeros(len(modality.contrast), dtype=np.float32)
    whole[list(modality.labels)] = 1
    shape = replace(modality.anatomy, intensities=whole, texture=None)
    places = world_points(_SHAPE, torch.from_numpy(affine)).numpy()
    clean = render(own, pose, _SHAPE, affine)
    field = np.exp(_BIAS * (places @ rng.standard_normal(3) / 100)).reshape(_SHAPE)
    noisy = clean * field + _NOISE * 1000 * rng.standard_normal(_SHAPE)
    return noisy.astype(np.float32), render(shape, pose, _SHAPE, affine).clip(0, 1)


def _registered(pair: RenderedPair, options: dict[str, Any]) -> Float:
    return register_volumes(
        pair.volumes[0],
        pair.affine,
        pair.volumes[1],
        pair.affine,
        fixed_mask=pair.masks[0],
        moving_mask=pair.masks[1],
        **options,
    ).pose


def _by_peer(tool: Tool, threads: int, pair: RenderedPair) -> Float:
    """The pair as a series of two frames."""
    with TemporaryDirectory(prefix="benchmark-") as folder:
        problem = Problem(
            data=np.stack(pair.volumes, axis=-1),
            affine=pair.affine,
            reference=0,
            repetition_time=1.0,
            mask=None,  # everything in these scenes moves together
            frame_masks=None,
            folder=Path(folder),
            threads=threads,
            device="cpu",
        )
        return tool.prepare(problem)().poses[1]


def errors_of(pair: RenderedPair, pose: Float) -> tuple[float, float]:
    """Mean displacement of the points, mm, and angle, degrees."""
    errors = pose_errors(pose[None], pair.pose[None], pair.points)
    return float(errors.displacement_mm[0]), float(errors.rotation_deg[0])


def _dice(pair: RenderedPair, pose: Float) -> float:
    """Of the fixed mask with the moving one carried onto it by a pose; 0 without one."""
    if not np.isfinite(pose).all():
        return 0.0
    carried = resample(
        torch.from_numpy(pair.masks[1]),
        Grid.of(pair.masks[1].shape, pair.affine),
        Rigid(torch.from_numpy(pose)),
    ).numpy()
    return dice(pair.masks[0] > 0.5, carried > 0.5)

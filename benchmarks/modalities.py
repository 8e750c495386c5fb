"""Modalities that no training saw: pairs of T1- and T2-like heads, CT-like trunks, organ shapes.

Rendered from the continuous objects by `unimo_bids.simulation`, which the network's training does
not use, on 3 mm grids with noise, an independent receive bias, and the object's own mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.metrics import Float, pose_errors
from benchmarks.table import markdown_table
from unimo_bids.motion.pair import register_volumes
from unimo_bids.simulation import kinematics
from unimo_bids.simulation.anatomy import Anatomy, adult_head
from unimo_bids.simulation.render import render
from unimo_bids.simulation.shapes import axes_mm, centered_affine, ellipsoid, smooth_noise
from unimo_bids.simulation.uterus import fetal_surroundings
from unimo_bids.spatial.grids import world_points

_SHAPE, _VOXEL_MM = (80, 80, 80), 3.0
_NOISE, _BIAS = 0.03, 0.2
# white, grey, ventricle, fluid, bone, scalp, eye, air
_T1 = np.array([0, 1100, 800, 300, 300, 150, 1300, 350, 15], dtype=np.float32)
_T2 = np.array([0, 500, 750, 1800, 1800, 120, 700, 1900, 15], dtype=np.float32)
RANGES = {
    "10 mm 5°": (10.0, 5.0),
    "20 mm 10°": (20.0, 10.0),
    "30 mm 20°": (30.0, 20.0),
    "any rotation": (30.0, None),
}
WAYS: dict[str, dict[str, bool]] = {
    "network alone": {"refine": False},
    "network + search + refine": {},
}


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
        labels[inside & (ellipsoid(axes, place, rng.uniform(5, 12, 3)) < 0)] = 3
    values = np.array([0, 900, 1500, 400], dtype=np.float32)
    radius = float((3 * inside.sum() * voxel_mm**3 / (4 * np.pi)) ** (1 / 3))
    anatomy = Anatomy(labels, affine, values, (1, 2, 3), None, "organ", radius)
    return Modality(anatomy, values, (1, 2, 3))


MODALITIES: dict[str, Callable[[int], Modality]] = {
    "T1-like head": _head(_T1),
    "T2-like head": _head(_T2),
    "CT-like trunk": _trunk,
    "organ": _organ,
}


def judge(count: int, threads: int) -> int:
    """Print the table."""
    torch.set_num_threads(threads)
    lines = [["object", "motion", *(f"{way}: mm, degrees, within 15°" for way in WAYS)]]
    for name, make in MODALITIES.items():
        for motion, (shift, turn) in RANGES.items():
            found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
            for seed in range(count):
                pair = _pair(make(seed % 3), shift, turn, seed)
                for way, options in WAYS.items():
                    found[way].append(_errors(pair, options))
            cells = []
            for values in found.values():
                mm, degrees = np.array(values).T
                within = 100 * np.mean(degrees < 15)
                cells.append(f"{np.median(mm):.2f}, {np.median(degrees):.2f}, {within:.0f} %")
            lines.append([name, motion, *cells])
            print(lines[-1], flush=True)
    print(markdown_table(lines))
    return 0


@dataclass(frozen=True)
class _Pair:
    volumes: list[NDArray[np.float32]]
    masks: list[NDArray[np.float32]]
    affine: Float
    pose: Float
    points: Float


def _pair(modality: Modality, shift: float, turn: float | None, seed: int) -> _Pair:
    rng = np.random.default_rng([seed, 78])
    affine = np.diag([_VOXEL_MM, _VOXEL_MM, _VOXEL_MM, 1.0])
    affine[:3, 3] = -_VOXEL_MM * (np.array(_SHAPE) - 1) / 2
    moves = (
        kinematics.haar(2, shift, seed)
        if turn is None
        else kinematics.uniform_range(2, shift, turn, seed)
    )
    pose = moves[1] @ np.linalg.inv(moves[0])
    own = replace(modality.anatomy, intensities=modality.contrast)
    whole = np.zeros(len(modality.contrast), dtype=np.float32)
    whole[list(modality.labels)] = 1
    shape = replace(modality.anatomy, intensities=whole, texture=None)
    places = world_points(_SHAPE, torch.from_numpy(affine)).numpy()
    volumes, masks = [], []
    for at in (np.eye(4), pose):
        clean = render(own, at, _SHAPE, affine)
        field = np.exp(_BIAS * (places @ rng.standard_normal(3) / 100)).reshape(_SHAPE)
        noisy = clean * field + _NOISE * 1000 * rng.standard_normal(_SHAPE)
        volumes.append(noisy.astype(np.float32))
        masks.append(render(shape, at, _SHAPE, affine).clip(0, 1))
    inside = places[masks[0].ravel() > 0.5]
    return _Pair(volumes, masks, affine, pose, inside[:: max(1, len(inside) // 2000)])


def _errors(pair: _Pair, options: dict[str, bool]) -> tuple[float, float]:
    found = register_volumes(
        pair.volumes[0],
        pair.affine,
        pair.volumes[1],
        pair.affine,
        fixed_mask=pair.masks[0],
        moving_mask=pair.masks[1],
        **options,
    )
    errors = pose_errors(found.pose[None], pair.pose[None], pair.points)
    return float(errors.displacement_mm[0]), float(errors.rotation_deg[0])

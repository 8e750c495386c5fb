"""A procedural uterus and body: what a fetal head moves in, and which does not move with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unimo_bids.simulation.anatomy import Anatomy, tissue_texture
from unimo_bids.simulation.shapes import (
    Bool3,
    Float3,
    axes_mm,
    centered_affine,
    ellipsoid,
    smooth_noise,
)

AMNION, PLACENTA, WALL, TRUNK, LUNG, LIVER, BONE, MUSCLE, BOWEL, GAS, FAT, FLUID, VESSEL = range(
    1, 14
)

# Relative to a fetal brain of 1000, by eye from whole-uterus EPI at 3 T (fat suppressed)
INTENSITIES = np.array(
    [0, 1500, 950, 480, 620, 950, 330, 220, 300, 480, 20, 170, 1500, 120], dtype=np.float32
)
_EXTENT_MM = (380.0, 340.0, 300.0)
_UNEVEN = {PLACENTA: 0.15, TRUNK: 0.25, MUSCLE: 0.2, BOWEL: 0.35, FAT: 0.35, WALL: 0.2, AMNION: 0.1}


def fetal_surroundings(seed: int = 0, head_radius: float = 45.0, voxel_mm: float = 2.5) -> Anatomy:
    """Uterus and maternal body around a head at the world's origin; the mother lies on her back.

    Parameters
    ----------
    head_radius
        Free space around the origin, mm: limbs, trunk and placenta keep out of it.
    voxel_mm
        Resolution; surroundings are smooth, and need less than the head.
    """
    rng = np.random.default_rng([seed, 60])
    shape = tuple(int(np.ceil(e / voxel_mm)) for e in _EXTENT_MM)
    affine = centered_affine(shape, voxel_mm)
    x, y, z = axes_mm(shape, affine)
    # one smooth warp for everything: nothing in a body is an ellipsoid
    warp = [7 * smooth_noise(shape, 22 / voxel_mm, rng) for _ in range(3)]
    axes = (x + warp[0], y + warp[1], z + warp[2])
    presenting = rng.choice((-1.0, 1.0), p=(0.25, 0.75))  # 1: head down
    center = np.array([rng.uniform(-20, 20), rng.uniform(-15, 5), presenting * 52.0])
    uterus = ellipsoid(axes, center, (100, 82, 128))
    labels = np.zeros(shape, dtype=np.uint8)
    _mother(labels, axes, center, voxel_mm, rng)
    labels[uterus < 9] = WALL
    cavity = uterus < 0
    labels[cavity] = AMNION
    clear = ellipsoid((x, y, z), (0, 0, 0), (head_radius + 4,) * 3) > 0
    direction = rng.standard_normal(3) * (1, 1, 0.6)
    direction /= np.linalg.norm(direction)
    towards = sum(d * (axis - c) for d, axis, c in zip(direction, axes, center, strict=True))
    thick = 24 + 4 * smooth_noise(shape, 12 / voxel_mm, rng)
    labels[cavity & clear & (uterus > -thick) & (towards > 25)] = PLACENTA
    _trunk(labels, axes, center, cavity & clear, rng)
    return Anatomy(
        labels=labels,
        affine=affine,
        intensities=INTENSITIES.copy(),
        brain_labels=(),
        texture=tissue_texture(labels, _UNEVEN, seed, voxel_mm),
        name="uterus and body",
        radius=head_radius,
    )


def _mother(
    labels: NDArray[np.uint8],
    axes: tuple[Float3, ...],
    center: NDArray[np.float64],
    voxel_mm: float,
    rng: np.random.Generator,
) -> None:
    """Fat, muscle, bowel, spine, bladder and great vessels, in place."""
    x, y, z = axes
    # the belly: an elliptic cylinder, its back flat on the table
    middle = center[1] - 15
    body = (np.abs((x - center[0]) / 175) ** 2.4 + np.abs((y - middle) / 140) ** 2.4) ** (1 / 2.4)
    body = (body - 1) * 140
    labels[body < 0] = FAT
    labels[body < -22] = MUSCLE
    gut = smooth_noise(labels.shape, 8 / voxel_mm, rng)
    inner = body < -34
    labels[inner] = BOWEL
    labels[inner & (np.abs(gut) < 0.25)] = MUSCLE
    labels[inner & (gut > 1.5)] = GAS
    labels[inner & (gut < -1.7)] = FLUID
    back = middle - 92
    for side in (-45, 45):  # psoas
        place = (center[0] + side, back + 8, 0)
        labels[ellipsoid((x, y, 0 * z), place, (24, 24, 1e6)) < 0] = MUSCLE
    spine = np.hypot(x - center[0], y - back)
    labels[spine < 22] = BONE
    labels[(spine < 22) & (np.mod(z, 36) < 9)] = MUSCLE  # discs
    labels[np.hypot(x - center[0], y - back + 30) < 8] = FLUID  # canal
    for side in (-12, 12):
        labels[np.hypot(x - center[0] - side, y - back - 30) < 8] = VESSEL
    labels[ellipsoid(axes, (center[0], center[1] + 15, -112), (38, 28, 24)) < 0] = FLUID


def _trunk(
    labels: NDArray[np.uint8],
    axes: tuple[Float3, ...],
    center: NDArray[np.float64],
    room: Bool3,
    rng: np.random.Generator,
) -> None:
    """Fetal trunk and limbs, where there is room, in place."""
    presenting = float(np.sign(center[2]))

    def near(place: NDArray[np.float64], x: float, y: float, further: float) -> NDArray[np.float64]:
        return place + np.array([rng.uniform(-x, x), rng.uniform(-y, y), further * presenting])

    chest = near(center * (0.6, 0.3, 0), 15, 10, 82)
    belly = near(chest, 14, 6, 42)
    hips = near(belly, 18, 10, 30)
    facing = rng.uniform(0, 2 * np.pi)
    front = np.array([np.cos(facing), np.sin(facing), 0])
    side = np.array([-front[1], front[0], 0])

    def fill(label: int, where: NDArray[np.float64], radii: Sequence[float]) -> None:
        labels[(ellipsoid(axes, where, radii) < 0) & room] = label

    for place, radii in ((chest, (36, 34, 40)), (belly, (38, 36, 36)), (hips, (32, 30, 28))):
        fill(TRUNK, place, radii)
    for sign in (-1, 1):
        fill(LUNG, chest + 15 * sign * side, (12, 14, 24))
        thigh = hips + 20 * sign * side + 34 * front
        fill(TRUNK, thigh, (15, 15, 26))
        fill(BONE, thigh, (4, 4, 20))
        fill(TRUNK, thigh + 16 * front - (0, 0, 34 * presenting), (10, 10, 30))
        arm = chest + 36 * sign * side + 12 * front
        fill(TRUNK, arm, (10, 10, 30))
        fill(BONE, arm, (3.5, 3.5, 24))
    fill(VESSEL, chest + 6 * front, (12, 12, 13))  # heart
    fill(LIVER, belly + 10 * front - (0, 0, 10 * presenting), (26, 24, 16))
    fill(FLUID, belly - 4 * front + (0, 0, 12 * presenting), (8, 7, 8))  # stomach
    fill(FLUID, hips + 6 * front, (9, 9, 10))  # bladder
    for step in np.linspace(-30, 110, 18):  # vertebrae, each a spot
        fill(BONE, chest - 25 * front + (0, 0, step * presenting), (7, 7, 3.5))

"""A procedural fetal head: needs no data, differs with gestational age and seed.

Sizes follow growth from 21 to 38 weeks. Nothing in it is a mirror image of another thing, nor is it
round: frontal and occipital lobes, the Sylvian notches, cerebellum, brainstem, eyes and face tell
front from back and up from down, folds and texture tell left from right.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unimo_bids.simulation.anatomy import Anatomy, ball_radius, cropped, recentered, tissue_texture
from unimo_bids.simulation.shapes import (
    Float3,
    axes_mm,
    centered_affine,
    closed,
    distance_mm,
    ellipsoid,
    smooth_noise,
)

# The codes of the spina-bifida atlas, then what is built around the brain
WHITE, VENTRICLE, CEREBELLUM, FLUID, CORTEX, DEEP_GREY, BRAINSTEM, CALLOSUM = range(1, 9)
BONE, SOFT, EYE, MARROW = range(9, 13)
BRAIN_LABELS = (WHITE, VENTRICLE, CEREBELLUM, CORTEX, DEEP_GREY, BRAINSTEM, CALLOSUM)

# Fetal T2*-weighted contrast is turned round: unmyelinated white matter is wet and brighter than
# cortex. The brain's mean is about 1000.
INTENSITIES = np.array(
    [0, 1050, 1450, 830, 1350, 850, 880, 840, 930, 300, 620, 1450, 420], dtype=np.float32
)
_UNEVEN = {SOFT: 0.2, BONE: 0.3, MARROW: 0.3, VENTRICLE: 0.02, FLUID: 0.06}

# Brain width, length and height in mm by week: extents of the atlas' maps at 21, 25, 30 and 34
# weeks, carried on to 38 with published biparietal and occipitofrontal growth
_WEEKS = (21.0, 25.0, 30.0, 34.0, 38.0)
_WIDTH = (42.0, 57.0, 70.0, 79.0, 87.0)
_LENGTH = (56.0, 71.0, 92.0, 103.0, 112.0)
_HEIGHT = (46.0, 60.0, 75.0, 84.0, 91.0)


def half_extents(weeks: float) -> tuple[float, float, float]:
    """Half the brain's width, length and height at a gestational age, mm."""
    width, length, height = (
        float(np.interp(weeks, _WEEKS, sizes)) / 2 for sizes in (_WIDTH, _LENGTH, _HEIGHT)
    )
    return width, length, height


def fetal_head(weeks: float = 30.0, seed: int = 0, voxel_mm: float = 1.0) -> Anatomy:
    """Procedural fetal head.

    Parameters
    ----------
    weeks
        Gestational age, 21 to 38.
    seed
        Of shape, folds and texture.
    """
    if not 21 <= weeks <= 38:
        raise ValueError(f"{weeks} weeks: the fetal head grows from 21 to 38 weeks")
    rng = np.random.default_rng([seed, 30])
    extents = np.array(half_extents(weeks)) * rng.uniform(0.96, 1.04, 3)
    shape = tuple(int(np.ceil(2 * (e * 1.12 + 4) / voxel_mm)) for e in extents)
    affine = centered_affine(shape, voxel_mm)
    labels = _brain(shape, affine, extents, weeks, rng)
    return wrapped_brain(labels, affine, f"fetal head {weeks:g} weeks", seed)


def _mirrored_noise(shape: Sequence[int], sigma: float, rng: np.random.Generator) -> Float3:
    """Noise whose left and right are much alike, as folds are, but not the same."""
    both = smooth_noise(shape, sigma, rng)
    mixed = both + 0.7 * both[::-1] + 0.4 * smooth_noise(shape, sigma, rng)
    return np.asarray(mixed / mixed.std(), dtype=np.float32)


def _brain(
    shape: Sequence[int],
    affine: NDArray[np.float64],
    extents: NDArray[np.float64],
    weeks: float,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Brain labels 1-8 from a handful of shapes, in units of the brain's half extents."""
    axes = axes_mm(shape, affine)
    voxel_mm = float(affine[0, 0])
    w, _, h = (float(e) for e in extents)
    wobble = _mirrored_noise(shape, 9 / voxel_mm, rng)
    x, y, z = (axis / e for axis, e in zip(axes, extents, strict=True))
    narrow = 1 + 0.16 * np.clip(y, -1, 1)  # frontal lobes are narrower than the parietal bosses
    unit = (x * narrow, y + 0 * x, z - 0.06 + 0.10 * y)

    def part(center: Sequence[float], radii: Sequence[float], power: float = 2.0) -> Float3:
        return ellipsoid(unit, center, radii, power) * w

    # Cerebrum with a flat base, temporal lobes and Sylvian notches; levels in mm, negative inside
    cerebrum = part((0, 0, 0.04), (0.97, 0.98, 0.88), 2.3)
    base = h * (-0.42 - 0.15 * unit[1] - unit[2])
    cerebrum = np.maximum(cerebrum, base)
    for side in (-1, 1):
        cerebrum = np.minimum(cerebrum, part((0.52 * side, 0.16, -0.40), (0.37, 0.50, 0.34)))
    folding = float(np.clip((weeks - 22) / 12, 0, 1))
    folds = _mirrored_noise(shape, (3.6 - 0.8 * folding) / voxel_mm, rng)
    sulcus = np.clip(1 - np.abs(folds) / 0.45, 0, 1)  # sheets where the noise changes its sign
    cerebrum = cerebrum + 0.7 * wobble + (0.5 + 7.5 * folding) * sulcus
    open_sylvian = float(np.interp(weeks, (21, 32), (0.22, 0.12)))  # it closes as the brain folds
    for side in (-1, 1):
        notch = part((0.98 * side, 0.12, -0.10), (open_sylvian, 0.42, 0.14))
        cerebrum = np.maximum(cerebrum, -notch)
    fissure = 0.5 + 0.01 * w  # half its width, mm
    middle = part((0, 0.02, 0.02), (1.0, 0.64, 0.40))  # where the hemispheres are joined
    split = (np.abs(axes[0] + 0.6 * wobble) < fissure) & (middle > 0)
    inside = (cerebrum < 0) & ~split

    # The transverse diameter of the cerebellum in mm is about the week, a rule of thumb
    lobe = 0.5 * weeks / w
    cerebellum = part((0, -0.50, -0.64), (0.4 * lobe, 0.22, 0.28))
    for side in (-1, 1):
        hemisphere = part((0.52 * lobe * side, -0.48, -0.64), (0.58 * lobe, 0.28, 0.30), 2.2)
        cerebellum = np.minimum(cerebellum, hemisphere)
    stem = part((0, -0.05, -0.52), (0.15, 0.17, 0.32))
    stem = np.minimum(stem, part((0, -0.20, -0.86), (0.11, 0.13, 0.30)))
    cerebellum_in, stem_in = cerebellum + 0.4 * wobble < 0, stem < 0

    labels = np.zeros(shape, dtype=np.uint8)
    fluid_mm = float(np.interp(weeks, (21, 38), (3.0, 1.2)))  # over the brain; it gets less
    hull = closed((cerebrum < 0) | cerebellum_in | stem_in, 7 / voxel_mm)
    labels[distance_mm(hull, voxel_mm) <= fluid_mm + 0.5 * wobble] = FLUID
    labels[inside] = WHITE
    thickness = float(np.interp(weeks, (21, 38), (1.5, 2.6)))
    under = distance_mm(~inside, voxel_mm)
    labels[inside & (under < thickness + 0.2 * wobble)] = CORTEX

    cavity = float(np.interp(weeks, (21, 38), (1.25, 0.75))) * rng.uniform(0.85, 1.2)
    labels[part((0, 0.05, 0.17), (0.14, 0.45, 0.06)) < 0] = CALLOSUM
    for side in (-1, 1):
        c = cavity * rng.uniform(0.9, 1.1)
        grey = part((0.27 * side, 0.1, -0.08), (0.2, 0.36, 0.22))
        labels[(grey + 0.5 * wobble < 0) & inside] = DEEP_GREY
        ventricle = np.minimum(
            part((0.17 * side, 0.28, 0.08), (0.08 * c, 0.26, 0.13 * c)),
            part((0.26 * side, -0.36, 0.06), (0.14 * c, 0.30, 0.17 * c)),
        )
        horn = part((0.45 * side, -0.2, -0.25), (0.07 * c, 0.3, 0.09 * c))
        labels[(np.minimum(ventricle, horn) + 0.4 * wobble < 0) & inside] = VENTRICLE
    labels[part((0, 0.25, 0.08), (0.07, 0.22, 0.08)) < 0] = VENTRICLE  # cavum septi pellucidi
    labels[part((0, 0.05, -0.12), (0.025, 0.22, 0.14)) < 0] = VENTRICLE  # third ventricle

    labels[cerebellum_in] = CEREBELLUM
    labels[stem_in] = BRAINSTEM
    labels[part((0, -0.28, -0.6), (0.07, 0.05, 0.12)) < 0] = VENTRICLE  # fourth ventricle
    return labels


def wrapped_brain(
    labels: NDArray[np.uint8], affine: NDArray[np.float64], name: str, seed: int
) -> Anatomy:
    """Anatomy of a fetal brain (codes 1-8, RAS, axis-aligned) with a head built around it."""
    rng = np.random.default_rng([seed, 31])
    voxel_mm = float(affine[0, 0])
    labels, affine = cropped(labels, affine, margin=0)
    brain = np.isin(labels, BRAIN_LABELS)
    affine = recentered(affine, brain)
    extents = np.array([np.ptp(i) for i in np.nonzero(brain)]) * voxel_mm / 2
    around = np.array([14, 20, 8]) / voxel_mm  # room for scalp and face, mm
    below = int(np.ceil(0.75 * extents[2] / voxel_mm))  # and for the neck
    pads = [(int(a), int(a)) for a in around]
    pads[2] = (pads[2][0] + below, pads[2][1])
    labels = np.pad(labels, pads)
    affine[:3, 3] -= affine[:3, :3] @ [p[0] for p in pads]
    _build_head(labels, affine, extents, voxel_mm, rng)
    labels, affine = cropped(labels, affine, margin=4)
    return Anatomy(
        labels=labels,
        affine=affine,
        intensities=INTENSITIES.copy(),
        brain_labels=BRAIN_LABELS,
        texture=tissue_texture(labels, _UNEVEN, seed, voxel_mm),
        name=name,
        radius=ball_radius(np.isin(labels, BRAIN_LABELS), voxel_mm),
    )


def _build_head(
    labels: NDArray[np.uint8],
    affine: NDArray[np.float64],
    extents: NDArray[np.float64],
    voxel_mm: float,
    rng: np.random.Generator,
) -> None:
    """Build fluid, skull, scalp, eyes, face and neck around the brain, in place.

    Thicknesses in mm: fetal skull about 1.5, scalp 3, and 1-2 of fluid over what the map has.
    """
    axes = axes_mm(labels.shape, affine)
    w, length, h = (float(e) for e in extents)
    filled = closed(labels > 0, 8 / voxel_mm)
    outside = distance_mm(filled, voxel_mm)
    uneven = smooth_noise(labels.shape, 7 / voxel_mm, rng).clip(-2, 2)
    bone_from = 1.2 + 0.4 * uneven
    bone_to = bone_from + 1.6
    scalp_to = bone_to + 3.0 + 0.5 * smooth_noise(labels.shape, 9 / voxel_mm, rng)
    empty = labels == 0
    face = ellipsoid(axes, (0, 0.62 * length, -0.80 * h), (0.62 * w, 0.46 * length, 0.62 * h))
    nose = ellipsoid(axes, (0, 1.08 * length, -0.78 * h), (0.12 * w, 0.13 * length, 0.16 * h))
    chin = ellipsoid(axes, (0, 0.62 * length, -1.25 * h), (0.42 * w, 0.30 * length, 0.25 * h))
    neck = ellipsoid(axes, (0, -0.12 * length, -1.35 * h), (0.46 * w, 0.38 * length, 0.8 * h))
    solid = np.minimum(np.minimum(face, nose), np.minimum(chin, neck)) + 0.8 * uneven < 0
    labels[empty & (solid | (outside < scalp_to))] = SOFT
    deep = empty & (outside >= bone_to)
    jaw = ellipsoid(axes, (0, 0.72 * length, -0.88 * h), (0.40 * w, 0.26 * length, 0.16 * h))
    mandible = ellipsoid(axes, (0, 0.70 * length, -1.22 * h), (0.30 * w, 0.18 * length, 0.10 * h))
    labels[(np.minimum(jaw, mandible) < 0) & deep] = MARROW
    mouth = ellipsoid(axes, (0, 0.74 * length, -1.06 * h), (0.16 * w, 0.22 * length, 0.05 * h))
    labels[(mouth < 0) & deep] = FLUID
    spine = np.hypot(axes[0], axes[1] + 0.30 * length) + 0 * axes[2]
    labels[(spine < 0.17 * w) & deep & (axes[2] < -0.9 * h)] = BONE
    labels[(spine < 0.08 * w) & deep & (axes[2] < -0.9 * h)] = FLUID
    labels[empty & (outside < bone_to)] = BONE
    labels[empty & (outside < bone_from)] = FLUID
    eye = 0.19 * w
    for side in (-1, 1):
        place = (0.50 * w * side, 0.92 * length, -0.56 * h)
        labels[(ellipsoid(axes, place, (eye + 1.5,) * 3) < 0) & deep] = SOFT
        labels[(ellipsoid(axes, place, (eye,) * 3) < 0) & deep] = EYE

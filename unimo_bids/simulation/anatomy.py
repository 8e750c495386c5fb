"""What is scanned: tissue labels on a fine grid, with an EPI intensity for every tissue."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unimo_bids.errors import MachineError
from unimo_bids.simulation.shapes import (
    Bool3,
    Float3,
    axes_mm,
    closed,
    distance_mm,
    ellipsoid,
    smooth_noise,
)

# T2*-weighted contrast, the brain's mean at 1000; order and ratios as in EPI at 3 T and 35 ms
# (cerebrospinal fluid brightest, grey over white, bone nearly black), not of one protocol.
WHITE, GREY, FLUID, BONE, SCALP, EYE, AIR = 840.0, 1020.0, 1480.0, 90.0, 540.0, 1300.0, 15.0


@dataclass(frozen=True)
class Anatomy:
    """An object to render: tissue labels and their intensities.

    Parameters
    ----------
    labels
        ``(X, Y, Z)`` uint8 tissue labels; 0 is where the object is absent (air, or whatever
        surrounds it).
    affine
        ``(4, 4)`` indices → RAS mm, the centre of the brain at the world's origin.
    intensities
        ``(L,)`` EPI intensity of each label, the brain's mean about 1000.
    texture
        ``(X, Y, Z)`` factor about 1 within the tissues, or None.
    radius
        Radius of a ball of the brain's volume, mm (for surroundings: of the space for the head).
    """

    labels: NDArray[np.uint8]
    affine: NDArray[np.float64]
    intensities: NDArray[np.float32]
    brain_labels: tuple[int, ...]
    texture: Float3 | None
    name: str
    radius: float

    def image(self, contrast: NDArray[np.float32] | None = None) -> Float3:
        """Intensity image ``(X, Y, Z)``, with another ``(L,)`` contrast if given."""
        lookup = self.intensities if contrast is None else np.asarray(contrast, dtype=np.float32)
        if lookup.shape != self.intensities.shape:
            raise ValueError(f"a contrast of {self.name} has {len(self.intensities)} intensities")
        image = lookup[self.labels]
        return image if self.texture is None else image * self.texture

    def presence(self) -> Float3:
        """1 where the object is, 0 where it is absent, ``(X, Y, Z)``."""
        return (self.labels > 0).astype(np.float32)

    def brain_fraction(self) -> Float3:
        """1 in the brain, 0 elsewhere, ``(X, Y, Z)``."""
        member = np.zeros(256, dtype=np.float32)
        member[list(self.brain_labels)] = 1
        return member[self.labels]


def ball_radius(brain: Bool3, voxel_mm: float) -> float:
    """Radius of a ball of the brain's volume, mm."""
    return float((3 * brain.sum() * voxel_mm**3 / (4 * np.pi)) ** (1 / 3))


def recentered(affine: NDArray[np.float64], brain: Bool3) -> NDArray[np.float64]:
    """Shift an affine so that the brain's centre of mass is the world's origin."""
    moved = np.array(affine, dtype=np.float64)
    moved[:3, 3] -= moved[:3, :3] @ np.array(ndimage.center_of_mass(brain)) + moved[:3, 3]
    return moved


def tissue_texture(
    labels: NDArray[np.uint8], uneven: dict[int, float], seed: int, voxel_mm: float
) -> Float3:
    """Fine smooth variation within the tissues: 4 %, more in the labels of ``uneven``."""
    rng = np.random.default_rng(seed)
    strength = np.full(256, 0.04, dtype=np.float32)
    for label, value in uneven.items():
        strength[label] = value
    fine = smooth_noise(labels.shape, 1.5 / voxel_mm, rng)
    coarse = smooth_noise(labels.shape, 6 / voxel_mm, rng)
    return np.maximum(1 + strength[labels] * (0.6 * fine + 0.8 * coarse), 0.1)


def cropped(
    labels: NDArray[np.uint8], affine: NDArray[np.float64], margin: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Cut a grid to what holds the object and an empty margin of voxels around it."""
    box = ndimage.find_objects((labels > 0).astype(np.uint8))[0]
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ np.array([s.start - margin for s in box])
    return np.pad(labels[box], margin), moved


# ------------------------------------------------------------------------------------- adult
ADULT_WHITE, ADULT_GREY, ADULT_VENTRICLE, ADULT_FLUID = 1, 2, 3, 4
ADULT_BONE, ADULT_SCALP, ADULT_EYE, ADULT_AIR = 5, 6, 7, 8
ADULT_UNEVEN = {ADULT_SCALP: 0.2, ADULT_BONE: 0.3, ADULT_VENTRICLE: 0.02}  # of the texture
ADULT_INTENSITIES = (0.0, WHITE, GREY, FLUID, FLUID, BONE, SCALP, EYE, AIR)


def adult_head(skull: bool = True, seed: int = 0) -> Anatomy:
    """Adult head from the MNI152 tissue maps that nilearn carries, 1 mm.

    The maps are of the brain only; fluid, skull, scalp, eyes, air spaces, a coarse face and neck
    are built around it.
    """
    white, grey, brain, affine = _mni_maps()
    labels = np.where(white > grey, ADULT_WHITE, ADULT_GREY).astype(np.uint8)
    labels[(white + grey < 0.5) & brain] = ADULT_VENTRICLE
    labels[~brain] = 0
    labels, affine = cropped(labels, affine, margin=0)
    pad = ((24, 24), (26, 30), (60, 22))  # room for scalp, face and neck, voxels of 1 mm
    labels = np.pad(labels, pad)
    affine[:3, 3] -= [p[0] for p in pad]
    affine = recentered(affine, labels > 0)
    if skull:
        _wrap_adult(labels, affine, seed)
    labels, affine = cropped(labels, affine, margin=4)
    return Anatomy(
        labels=labels,
        affine=affine,
        intensities=np.array(ADULT_INTENSITIES, dtype=np.float32),
        brain_labels=(ADULT_WHITE, ADULT_GREY, ADULT_VENTRICLE),
        texture=tissue_texture(labels, ADULT_UNEVEN, seed, 1.0),
        name="adult head" if skull else "adult brain",
        radius=ball_radius(np.isin(labels, (1, 2, 3)), 1.0),
    )


def _mni_maps() -> tuple[Float3, Float3, Bool3, NDArray[np.float64]]:
    """White and grey matter fractions, the brain mask and the affine, from nilearn's wheel."""
    spec = find_spec("nilearn")
    if spec is None or spec.origin is None:
        raise MachineError(
            "nilearn",
            "not installed, and the adult head is made of its MNI152 maps",
            "pip install nilearn, or use fetal_head, which needs no data",
        )
    folder = Path(spec.origin).parent / "datasets" / "data"
    maps = []
    for tissue in ("wm", "gm", "t1"):
        path = folder / f"mni_icbm152_{tissue}_tal_nlin_sym_09a_converted.nii.gz"
        if not path.exists():
            raise MachineError(path, "not there", "install a nilearn from 0.8 on")
        image = nib.nifti1.Nifti1Image.from_filename(path)
        maps.append(np.asarray(image.dataobj).astype(np.float32) / np.float32(255))
    brain = ndimage.binary_fill_holes(ndimage.binary_opening(maps[2] > 0.05, iterations=1))
    affine = np.asarray(image.affine, dtype=np.float64)
    return maps[0], maps[1], np.asarray(brain, dtype=bool), affine


def _wrap_adult(labels: NDArray[np.uint8], affine: NDArray[np.float64], seed: int) -> None:
    """Build fluid, skull, scalp, eyes, sinuses, face and neck around the brain, in place."""
    rng = np.random.default_rng([seed, 1])
    brain = labels > 0
    axes = axes_mm(labels.shape, affine)
    outside = distance_mm(closed(brain, 6), 1.0)
    # thickness varies over a few centimetres
    uneven = smooth_noise(labels.shape, 14, rng).clip(-2, 2)
    bone_from, bone_to = 2.5 + 0.5 * uneven, 8.5 + 1.2 * uneven
    head = outside < bone_to + 6.0 + 1.5 * smooth_noise(labels.shape, 18, rng)
    # Places in mm from the brain's centre, read off an average adult head
    face = ellipsoid(axes, (0, 62, -58), (52, 36, 62)) < 0
    neck = ellipsoid(axes, (0, -22, -95), (50, 52, 85)) < 0
    base = outside >= bone_to
    nose = ellipsoid(axes, (0, 98, -55), (13, 20, 22)) < 0
    labels[(head | face | neck | nose) & ~brain] = ADULT_SCALP
    labels[(outside < bone_to) & ~brain] = ADULT_BONE
    labels[(outside < bone_from) & ~brain] = ADULT_FLUID
    spine = (np.hypot(axes[0], axes[1] + 38) < 17) & (axes[2] < -60) & base
    labels[spine] = ADULT_BONE
    cord = (np.hypot(axes[0], axes[1] + 40) < 7) & (axes[2] < -60) & base
    labels[cord] = ADULT_FLUID
    for side in (-1, 1):
        labels[(ellipsoid(axes, (32 * side, 80, -28), (13, 13, 13)) < 0) & base] = ADULT_EYE
        labels[(ellipsoid(axes, (30 * side, 66, -62), (14, 15, 15)) < 0) & base] = ADULT_AIR
        labels[(ellipsoid(axes, (66 * side, -12, -36), (9, 6, 6)) < 0) & ~brain] = ADULT_AIR
    labels[(ellipsoid(axes, (0, 62, -60), (9, 28, 26)) < 0) & base] = ADULT_AIR
    labels[(ellipsoid(axes, (0, 42, -75), (11, 12, 50)) < 0) & base] = ADULT_AIR

"""Real heads that `pushed` moves: of adults in air, and of fetuses in their uterus, at rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.headless import without_head
from unimo_bids.brain.extraction import extract_brain

Array = NDArray[np.float64]
AXIS, READOUT = 1, -0.0227  # j-; s, of the first run's sidecar
_ADULTS = {
    "rtcloud": "epi/sub-rtcloud/func/sub-rtcloud_task-faces_bold.nii.gz",
    "xa30": "epi/sub-xa30/func/sub-xa30_task-fa_bold.nii.gz",
}
# of the head's half extents: where air is (right, front, up), and its radius, mm
_SINUSES = (((0.0, 0.85, -0.6), 16.0), ((0.8, -0.1, -0.75), 12.0), ((-0.8, -0.1, -0.75), 12.0))
_BOWEL = (((0.2, 1.35, -0.5), 12.0), ((1.4, -0.2, 0.4), 10.0), ((-0.6, -0.4, -1.5), 7.0))
_SCALP = 6.0  # mm around a fetal brain that move with it
_SOFT = 3.0  # mm, over which that goes over into what stays
_AROUND = 36.0  # mm around a fetal head that are kept


@dataclass(frozen=True)
class Head:
    """A volume ``(X, Y, Z)`` and its mask, voxels to world, and the field in it.

    Attributes
    ----------
    air
        Where it is, of the head's half extents, and its radius, mm.
    moving
        ``(X, Y, Z)`` 0 … 1: what of the image moves. None: all.
    around
        ``(X, Y, Z)`` what stays.
    """

    image: Array
    mask: NDArray[np.bool_]
    affine: Array
    hertz_at_most: float
    air: tuple[tuple[tuple[float, float, float], float], ...]
    moving: Array | None = None
    around: Array | None = None

    @property
    def points(self) -> Array:
        """``(N, 3)`` of the mask, world."""
        return apply_affine(self.affine, np.argwhere(self.mask))

    def raw(self, points: Array) -> Array:
        """Field of the air at points ``(N, 3)``, up to a factor: dipoles along z."""
        return sum(
            (radius / np.maximum(r, radius)) ** 3 * (3 * (z / np.maximum(r, 1e-6)) ** 2 - 1)
            for radius, r, z in spheres(self.air, points, self.points)
        )

    def hertz(self, points: Array) -> Array:
        """The field at points ``(N, 3)``, shimmed over the head at rest."""
        here = self.points
        ones = np.column_stack([here, np.ones(len(here))])
        shim, *_ = np.linalg.lstsq(ones, self.raw(here), rcond=None)
        largest = np.quantile(np.abs(self.raw(here) - ones @ shim), 0.999)
        shimmed = self.raw(points) - np.column_stack([points, np.ones(len(points))]) @ shim
        return self.hertz_at_most * shimmed / largest

    def shown(self, points: Array) -> Array:
        """Where signal at points ``(N, 3)`` is seen."""
        return points + self.hertz(points)[:, None] * READOUT * self.affine[:3, AXIS]

    def signal(self, pose: Array, index: Array) -> Array:
        """What truly is at indices ``(N, 3)`` when the head is at a pose."""
        back = apply_affine(np.linalg.inv(pose), apply_affine(self.affine, index))
        there = apply_affine(np.linalg.inv(self.affine), back).T
        # what is beyond the edge of the run that the head is from goes on as there
        moved = ndimage.map_coordinates(self.image, there, order=3, mode="nearest")
        if self.moving is None or self.around is None:
            return moved
        share = ndimage.map_coordinates(self.moving, there, order=1, mode="nearest")
        rest = ndimage.map_coordinates(self.around, index.T, order=3, mode="nearest")
        return share * moved + (1 - share) * rest


def spheres(
    placed: tuple[tuple[tuple[float, float, float], float], ...], points: Array, head: Array
) -> Iterator[tuple[float, Array, Array]]:
    """Radius of each sphere of air, and how far points are from its middle, and along z."""
    middle, half = head.mean(axis=0), np.ptp(head, axis=0) / 2
    for place, radius in placed:
        apart = points - (middle + np.array(place) * half)
        yield radius, np.linalg.norm(apart, axis=1), apart[:, 2]


def real_head(data: Path, name: str, hertz_at_most: float) -> Head:
    """A head by its name: a run of an adult, or a stack of a fetus (``ep2d_10``)."""
    if name in _ADULTS:
        return _adult(data / _ADULTS[name], hertz_at_most)
    return _fetus(data / "fetal_epi" / f"{name}.nii.gz", hertz_at_most)


def _adult(path: Path, hertz_at_most: float) -> Head:
    """The mean of a real run at rest; its mask by brightness."""
    loaded = nib.load(path)
    image = np.asarray(loaded.dataobj, dtype=float).mean(axis=-1)
    bright = ndimage.binary_opening(image > 0.25 * np.quantile(image, 0.98), iterations=2)
    parts, _ = ndimage.label(bright)
    largest = parts == 1 + np.bincount(parts.ravel())[1:].argmax()
    mask = ndimage.binary_fill_holes(largest)
    hole = _air(_SINUSES, mask, loaded.affine)
    image = np.where(hole, 0.0, image)
    return Head(image, mask & ~hole, loaded.affine, hertz_at_most, _SINUSES)


def _fetus(path: Path, hertz_at_most: float) -> Head:
    """A stack of the uterus around the brain that is found in it; air beside the head."""
    loaded = nib.load(path)
    image, affine = np.asarray(loaded.dataobj, dtype=np.float32), loaded.affine
    brain = extract_brain(image, affine).mask > 0.5
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    rim = np.ceil(_AROUND / sizes).astype(int)
    inside = np.argwhere(brain)
    low = np.maximum(inside.min(axis=0) - rim, 0)
    part = tuple(
        slice(start, stop) for start, stop in zip(low, inside.max(axis=0) + rim + 1, strict=True)
    )
    affine = affine @ np.block([[np.eye(3), low[:, None]], [np.zeros(3), 1.0]])
    around = without_head(image, brain, sizes)[part].astype(float)
    image, brain = image[part].astype(float), brain[part]
    hole = _air(_BOWEL, brain, affine)
    image, around = np.where(hole, 0.0, image), np.where(hole, 0.0, around)
    off = ndimage.distance_transform_edt(~brain, sampling=sizes)
    moving = np.clip((_SCALP + _SOFT - off) / _SOFT, 0, 1)
    return Head(image, brain & ~hole, affine, hertz_at_most, _BOWEL, moving, around)


def _air(
    placed: tuple[tuple[tuple[float, float, float], float], ...],
    mask: NDArray[np.bool_],
    affine: Array,
) -> NDArray[np.bool_]:
    places = apply_affine(affine, np.indices(mask.shape).reshape(3, -1).T.astype(float))
    hole = np.zeros(mask.shape, dtype=bool)
    for radius, r, _ in spheres(placed, places, apply_affine(affine, np.argwhere(mask))):
        hole |= (r < radius).reshape(mask.shape)
    return hole

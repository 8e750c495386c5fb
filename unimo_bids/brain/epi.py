"""The brain in one EPI volume, by intensity and shape.

1. The head is what is not air.
2. Its intensities are flattened: divided by their local mean, again and again, until a receive
   field of any strength no longer tells the middle of the brain from its surface.
3. The brain is bright; skull, scalp (its fat suppressed) and air are dark. What is bright is opened
   by a ball so wide that eyes, muscles and vessels come off, and the largest piece is kept.
4. Sulci are closed and holes (ventricles and the like) are filled.

All lengths are in proportion to the head, so that it may be of any age, and in mm, so that voxels
may be of any shape. At the edges of the field of view nothing is opened: a slab may cut the head.

Why not nilearn's `compute_epi_mask`: on simulated whole adult heads both have a Dice of 0.93 to
0.94 with the brain. But on a slab of one nilearn has 0.74 (here 0.96), on a single slice 0 (0.96),
on a fetal head in air 0.48 to 0.67 (0.67 to 0.79), and under the receive field of some real coils
it leaves out the middle of the brain.

A head among other tissue cannot be told from it by these means: in utero the result is not the
brain, and not `usable`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from unimo_bids.brain.head import NoImageError, foreground
from unimo_bids.brain.mask import BrainMask, ball_volume, brain_radius, mask_radius, solidity
from unimo_bids.brain.thresholds import DOUBTS, SHAPE
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.region import largest_piece

Bool3 = NDArray[np.bool_]
Float3 = NDArray[np.float32]

METHOD = "intensity and shape"

_FLATTENINGS = 4  # from the third on, little changes
# in proportion to the radius of the head
_FIELD, _OPENING, _CLOSING = 0.35, 0.15, 0.15


def find_brain(reference: NDArray[np.generic], affine: NDArray[np.float64]) -> BrainMask:
    """Find the brain in one volume.

    Parameters
    ----------
    reference
        ``(X, Y, Z)`` an EPI volume or a mean of aligned ones; what is not finite or below 0 is
        taken for air.
    affine
        ``(4, 4)`` indices → RAS mm; of any orientation.

    Raises
    ------
    NoImageError
        If there is nothing to see: no voxels, or one intensity everywhere (or none above 0).
    """
    image = np.asarray(reference, dtype=np.float32)
    image = np.where(np.isfinite(image), image, 0).clip(min=0)
    if image.ndim != 3 or image.size == 0:
        raise ValueError(f"a volume has three axes, not the shape {image.shape}")
    if np.ptp(image) == 0:
        raise NoImageError("every voxel of the reference has the same intensity")
    affine = np.asarray(affine, dtype=np.float64)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    head = foreground(torch.from_numpy(image), Grid.of(image.shape, affine)).numpy() > 0
    radius = mask_radius(head, sizes)
    bright = _flattened(image, head, sizes, _FIELD * radius) > SHAPE.bright
    brain = _largest_solid(bright & head, sizes, _OPENING * radius)
    brain = ndimage.binary_fill_holes(_closed(brain, sizes, _CLOSING * radius))
    plausible = _plausible(brain, head, sizes)
    return BrainMask(
        mask=brain,
        probability=_soft(brain, sizes),
        radius_mm=brain_radius(brain, affine),
        method=METHOD,
        doubts=() if plausible else ("what was found does not look like a brain",),
        usable=plausible,
    )


def _flattened(image: Float3, head: Bool3, sizes: NDArray[np.float64], reach: float) -> Float3:
    """Intensity relative to the brain nearby: the mean of what is bright within ``reach`` mm."""
    flat: Float3 = ndimage.gaussian_filter(image, 1.5 / sizes, mode="nearest")
    bright = head
    for _ in range(_FLATTENINGS):
        weights = bright.astype(np.float32)
        total, count = (
            ndimage.gaussian_filter(part, reach / sizes, mode="constant")
            for part in (weights * flat, weights)
        )
        local = total / np.maximum(count, 1e-3)
        least = 1e-6 * max(float(local.max()), 1e-30)
        flat = np.asarray(flat / np.maximum(local, least), dtype=np.float32)
        bright = head & (flat > SHAPE.bright)
    return flat


def _largest_solid(mask: Bool3, sizes: NDArray[np.float64], radius: float) -> Bool3:
    """Largest piece of the mask that a ball fits in, as far as the ball reaches, and its rim."""
    core = _depth(mask, sizes) > radius
    if not core.any():
        return mask
    return mask & (_depth(~largest_piece(core), sizes) <= radius + sizes.min() / 2)


def _closed(mask: Bool3, sizes: NDArray[np.float64], radius: float) -> Bool3:
    """Fill what a ball of this radius, mm, cannot enter from outside."""
    reach = [
        (int(radius / size) + 2 if many > 1 else 0,) * 2
        for size, many in zip(sizes, mask.shape, strict=True)
    ]
    padded = np.pad(mask, reach)
    grown = _depth(~padded, sizes) <= radius
    inner = tuple(slice(low, low + many) for (low, _), many in zip(reach, mask.shape, strict=True))
    return mask | (_depth(grown, sizes) > radius)[inner]


def _depth(mask: Bool3, sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance in mm to the nearest voxel that is not in the mask, 0 outside the mask."""
    if mask.all():  # there is none
        return np.full(mask.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(mask, sampling=sizes))


def _soft(mask: Bool3, sizes: NDArray[np.float64]) -> Float3:
    """Logistic in the distance from the surface, a voxel wide."""
    level = (_depth(mask, sizes) - _depth(~mask, sizes)) / sizes.mean()
    return (1 / (1 + np.exp(-level.clip(-30, 30)))).astype(np.float32)


def _plausible(brain: Bool3, head: Bool3, sizes: NDArray[np.float64]) -> bool:
    """Whether a region can be a brain in air: neither too small nor too large, solid, alone."""
    volume = ball_volume(brain_radius(brain, np.diag([*sizes, 1.0])))
    return bool(
        SHAPE.smallest_ml < volume < SHAPE.largest_ml
        and head.sum() * sizes.prod() / 1000 < SHAPE.largest_head_ml
        and brain.mean() < SHAPE.full
        and brain.sum() > SHAPE.share * head.sum()
        and solidity(brain, sizes) > DOUBTS.solid
    )

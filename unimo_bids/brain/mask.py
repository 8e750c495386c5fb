"""A brain mask, whoever made it, and what can be measured on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unimo_bids.brain.head import MaskError
from unimo_bids.brain.thresholds import DOUBTS, OUTLINES, RANKING
from unimo_bids.words import Population

Bool3 = NDArray[np.bool_]
Float3 = NDArray[np.float32]

Outlined = NDArray[np.uint8]  # ``(X, Y, Z)``
RIM, SURE = 1, 2  # in one; 0 elsewhere

# Of its measure of structure
_RIM_MM, _SMOOTH_MM, _FEWEST = 4.0, 3.0, 50
_REACH = 4.0  # standard deviations that scipy's Gaussian looks at on either side, and a voxel
_BEYOND_MM = 25.0, 40.0  # from a brain: skull and scalp of any head end before
# A ball's section is as wide as the ball. A whole brain is longer than it is high, and its widest
# section that of a ball larger by this factor.
_SECTION = 0.9


@dataclass(frozen=True)
class Candidate:
    """A place that may be the brain.

    Attributes
    ----------
    center
        ``(3,)`` RAS mm.
    volume
        Of what is outlined there, ml.
    confidence
        That it is a brain, 0 … 1.
    """

    center: tuple[float, float, float]
    volume: float
    confidence: float


@dataclass(frozen=True)
class BrainMask:
    """Where the brain is, and how it was found.

    Attributes
    ----------
    mask
        ``(X, Y, Z)`` bool.
    probability
        ``(X, Y, Z)`` float32, 0 … 1, above ½ in what is surely brain, and falling to 0 over a voxel
        or two: what registration looks at, as it adds a rim. The mask of a fetal brain is wider
        (`outlined`), others are the same.
    radius_mm
        Of a ball with the mask's volume; where the field of view cuts the brain, of the whole one
        as its widest section lets expect.
    method
        What found it, for the report.
    doubts
        Why it may be wrong, a phrase each; none for a mask that can be believed.
    usable
        Whether registration should look at it, rather than at all that is not air.
    candidates
        Where else it may be: all places looked at, the chosen one first, then by confidence.
    """

    mask: Bool3
    probability: Float3
    radius_mm: float
    method: str
    doubts: tuple[str, ...] = ()
    usable: bool = True
    candidates: tuple[Candidate, ...] = ()


def outlined(probability: Float3, affine: NDArray[np.float64]) -> Outlined:
    """A brain as networks see it, `SURE` where it has a probability of ½; all 0 if nowhere.

    They draw fetal brains within their true edge: the `RIM` goes down to `OUTLINES.unborn`.
    """
    sure = probability > 0.5
    if not sure.any():
        return np.zeros(sure.shape, np.uint8)
    unborn = ball_volume(brain_radius(sure, affine)) <= RANKING.largest_unborn_ml
    rim = probability > (OUTLINES.unborn if unborn else 0.5)
    return np.where(sure, SURE, np.where(rim, RIM, 0)).astype(np.uint8)


def brain_radius(mask: Bool3, affine: NDArray[np.float64]) -> float:
    """Radius in mm of a ball with the volume of the brain, of which the mask may be only a slab.

    Parameters
    ----------
    mask
        ``(X, Y, Z)`` bool.
    affine
        ``(4, 4)`` indices → RAS mm.
    """
    sizes = np.linalg.norm(np.asarray(affine, dtype=np.float64)[:3, :3], axis=0)
    sections = [
        mask.sum(axis=tuple(a for a in range(3) if a != axis)).max() * sizes.prod() / sizes[axis]
        for axis in range(3)
    ]
    return max(mask_radius(mask, sizes), _SECTION * float(np.sqrt(max(sections) / np.pi)))


def population_of_size(radius_mm: float) -> Population:
    """Whose brain is of this size.

    Fetal brains have 30 ml at 20 weeks and 400 at birth, adult ones 1100 to 1600 ml; those of
    newborns to two years lie between. The limits are 380 ml (45 mm) and 1050 ml (63 mm).

    Examples
    --------
    >>> population_of_size(29), population_of_size(55), population_of_size(70)
    ('fetal', 'infant', 'adult')
    """
    if radius_mm < 45:
        return "fetal"
    return "infant" if radius_mm < 63 else "adult"


def given_brain(mask: NDArray[np.float32], affine: NDArray[np.float64]) -> BrainMask:
    """Believe a mask ``(X, Y, Z)``, hard or soft (0 … 1)."""
    inside = mask > 0.5
    if not inside.any():
        raise MaskError("the mask is empty")
    return BrainMask(
        mask=inside,
        probability=np.asarray(mask, dtype=np.float32),
        radius_mm=brain_radius(inside, affine),
        method="given mask",
    )


def ball_radius(volume: float) -> float:
    """Radius in mm of a ball of a volume in ml."""
    return float((3000 * volume / (4 * np.pi)) ** (1 / 3))


def ball_volume(radius: float) -> float:
    """Volume in ml of a ball of a radius in mm."""
    return 4 * np.pi * radius**3 / 3000


def mask_radius(mask: Bool3, sizes: NDArray[np.float64]) -> float:
    """Radius in mm of a ball with the volume of a mask of voxels of these sizes, mm."""
    return ball_radius(float(mask.sum() * sizes.prod() / 1000))


def structure(
    volume: NDArray[np.generic], mask: Bool3, sizes: Sequence[float] | NDArray[np.float64]
) -> float:
    """How far intensity departs from a smooth field inside a mask, relative to its mean.

    Noise is smoothed away, and the rim, in whose voxels there are other things as well, left out.
    """
    if mask.sum() < _FEWEST:
        return np.inf
    reach = np.ceil(_REACH * _SMOOTH_MM / np.asarray(sizes)).astype(int) + 1
    box = _about(mask, reach)
    inner = ndimage.distance_transform_edt(mask[box], sampling=sizes) > _RIM_MM
    if inner.sum() < _FEWEST:
        return np.inf
    within = np.where(inner, np.nan_to_num(np.asarray(volume[box], dtype=np.float64)), 0)
    smooth, share = (
        ndimage.gaussian_filter(image, _SMOOTH_MM / np.asarray(sizes))[inner]
        for image in (within, inner.astype(np.float64))
    )
    values = smooth / share
    places = (np.argwhere(inner) + [part.start for part in box]) * np.asarray(sizes)
    x, y, z = ((places - places.mean(axis=0)) / max(places.std(), 1e-6)).T
    field = np.stack([np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, y * z, z * x], axis=1)
    fit = field @ np.linalg.lstsq(field, values, rcond=None)[0]
    return float((values - fit).std() / max(values.mean(), 1e-9))


def in_body(
    volume: NDArray[np.generic], mask: Bool3, sizes: Sequence[float] | NDArray[np.float64]
) -> float:
    """How much of what lies just beyond the head of a brain is no air; 0 if that is out of view."""
    box = _about(mask, np.ceil(_BEYOND_MM[1] / np.asarray(sizes)).astype(int))
    away = ndimage.distance_transform_edt(~mask[box], sampling=sizes)
    beyond = (away > _BEYOND_MM[0]) & (away < _BEYOND_MM[1])
    if not beyond.any():
        return 0.0
    smooth = ndimage.gaussian_filter(np.nan_to_num(np.asarray(volume[box], dtype=np.float32)), 1)
    air = np.percentile(smooth, 1)
    tissue = air + DOUBTS.tissue * (np.median(smooth[mask[box]]) - air)
    return float((smooth[beyond] > tissue).mean())


def _about(mask: Bool3, reach: NDArray[np.integer]) -> tuple[slice, ...]:
    """What of a volume is within so many voxels of a mask's box: a uterus is far larger."""
    (where,) = ndimage.find_objects(mask.astype(np.uint8))
    return tuple(
        slice(max(part.start - n, 0), part.stop + n) for part, n in zip(where, reach, strict=True)
    )


def solidity(mask: Bool3, sizes: Sequence[float] | NDArray[np.float64]) -> float:
    """Volume relative to that of the ellipsoid with the same second moments; 1 for an ellipsoid.

    ``V / (4/3 π √(5³ det C))`` with C the covariance of the points of the mask.
    """
    points = np.argwhere(mask) * sizes
    covariance = np.cov(points.T, bias=True) + np.diag(np.square(sizes)) / 12  # voxels have a size
    ellipsoid = 4 / 3 * np.pi * float(np.sqrt(5**3 * np.linalg.det(covariance)))
    return float(len(points) * np.prod(sizes) / ellipsoid)

"""Smooth random shapes on a voxel grid: what anatomies are built from when there are no data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Bool3 = NDArray[np.bool_]
Float3 = NDArray[np.float32]


def centered_affine(shape: Sequence[int], voxel_mm: Sequence[float] | float) -> NDArray[np.float64]:
    """Affine ``(4, 4)`` of an axis-aligned RAS grid whose middle is the world origin."""
    sizes = np.broadcast_to(np.asarray(voxel_mm, dtype=np.float64), (3,))
    affine = np.diag([*sizes, 1.0])
    affine[:3, 3] = -sizes * (np.asarray(shape) - 1) / 2
    return affine


def axes_mm(
    shape: Sequence[int], affine: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """World x, y, z of an axis-aligned grid, open for broadcasting, RAS mm."""
    x, y, z = (
        (affine[i, 3] + affine[i, i] * np.arange(n)).astype(np.float32) for i, n in enumerate(shape)
    )
    return x[:, None, None], y[None, :, None], z[None, None, :]


def ellipsoid(
    axes: tuple[NDArray[np.float32], ...],
    center: Sequence[float] | NDArray[np.float64],
    radii: Sequence[float],
    power: float = 2.0,
) -> Float3:
    """Level of an ellipsoid: negative inside, 0 on its surface, about mm near it.

    ``power`` above 2 makes it boxier.
    """
    level = sum(
        np.abs((axis - c) / r) ** power for axis, c, r in zip(axes, center, radii, strict=True)
    )
    return np.asarray((level ** (1 / power) - 1) * min(radii), dtype=np.float32)


def smooth_noise(
    shape: Sequence[int], sigma: Sequence[float] | float, rng: np.random.Generator
) -> Float3:
    """Gaussian random field of standard deviation 1, blurred by ``sigma`` voxels.

    Drawn on a grid of half a sigma and interpolated: the same field, at a fraction of the cost.
    """
    sigmas = np.broadcast_to(np.asarray(sigma, dtype=np.float64), (3,))
    step = np.maximum(sigmas / 2, 1.0)
    coarse = tuple(int(np.ceil(n / s)) + 5 for n, s in zip(shape, step, strict=True))
    field = ndimage.gaussian_filter(rng.standard_normal(coarse).astype(np.float32), sigmas / step)
    for axis, (n, s) in enumerate(zip(shape, step, strict=True)):
        position = 2 + np.arange(n) / s
        lower = position.astype(int)
        fraction = (position - lower).astype(np.float32)
        fraction = fraction.reshape([-1 if i == axis else 1 for i in range(3)])
        below, above = np.take(field, lower, axis), np.take(field, lower + 1, axis)
        field = below * (1 - fraction) + above * fraction
    field -= field.mean()
    return np.asarray(field / max(float(field.std()), 1e-6), dtype=np.float32)


def distance_mm(mask: Bool3, voxel_mm: float) -> Float3:
    """Distance of every voxel from a mask, mm; 0 inside it."""
    return np.asarray(ndimage.distance_transform_edt(~mask), dtype=np.float32) * voxel_mm


def closed(mask: Bool3, radius: float) -> Bool3:
    """Close a mask by a ball of ``radius`` voxels, by distances: cheap for large radii."""
    reach = int(np.ceil(radius)) + 1
    grown = distance_mm(np.pad(mask, reach), 1.0) < radius
    kept = distance_mm(~grown, 1.0) > radius
    inner = (slice(reach, -reach),) * 3
    return np.asarray(kept[inner] | mask, dtype=bool)

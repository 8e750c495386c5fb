"""A part of a volume that moves as one, a head or a brain, and its measures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from unimo_bids.spatial.grid import Grid, Window


@dataclass(frozen=True, eq=False)
class Region:
    """What moves rigidly, in the reference.

    Attributes
    ----------
    grid
        Of the weights.
    weights
        ``(X, Y, Z)`` soft mask of registration.
    center
        ``(3,)`` RAS mm, float64.
    radius
        mm, of a ball with the mask's volume.
    """

    grid: Grid
    weights: Tensor
    center: Tensor
    radius: float

    def surface(self) -> Tensor:
        """Six points on it, ``(6, 3)`` mm."""
        arms = torch.eye(3, dtype=torch.float64, device=self.center.device) * self.radius
        return self.center + torch.cat([arms, -arms])

    def window(self, rim: int) -> Window:
        """The part of the grid that holds it, and a rim of so many voxels."""
        inside = torch.nonzero(self.weights > 0)
        low, high = inside.amin(dim=0) - rim, inside.amax(dim=0) + rim + 1
        first, second, third = (
            slice(max(0, start), min(n, stop))
            for start, stop, n in zip(low.tolist(), high.tolist(), self.weights.shape, strict=True)
        )
        return first, second, third

    def part(self, window: Window) -> Region:
        """The same region, in a part of the grid."""
        return Region(self.grid.part(window), self.weights[window], self.center, self.radius)


def radius_of(mask: Tensor, grid: Grid) -> float:
    """Radius in mm of the ball with the mask's volume."""
    volume = float(mask.sum()) * float(torch.linalg.det(grid.affine[:3, :3]).abs())
    return float((3 * volume / (4 * np.pi)) ** (1 / 3))


def centroid(mask: Tensor, grid: Grid) -> Tensor:
    """Centre of mass in the world, ``(3,)`` mm."""
    mass = mask.double()
    total = mass.sum()
    middle = torch.stack(
        [
            (
                mass.sum(dim=[a for a in range(3) if a != axis])
                * torch.arange(n, dtype=torch.float64, device=mass.device)
            ).sum()
            / total
            for axis, n in enumerate(mass.shape)
        ]
    )
    affine = grid.affine.to(middle)
    return affine[:3, :3] @ middle + affine[:3, 3]


def widened(
    mask: NDArray[np.bool_], sizes: NDArray[np.float64], margin: float
) -> NDArray[np.bool_]:
    """A mask ``(X, Y, Z)`` and all within so many mm of it; `sizes` are those of voxels, mm."""
    if not mask.any():  # distances from nothing mean nothing
        return mask
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=sizes) <= margin)


def largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected piece of a mask ``(X, Y, Z)``; nothing where there is none."""
    pieces, count = ndimage.label(mask)
    if count == 0:
        return np.zeros_like(mask, dtype=bool)
    return np.asarray(pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:])))

"""Part of a grid that moves as one: a head, a brain; and what can be measured on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Head:
    """What moves rigidly, in the reference frame.

    Attributes
    ----------
    weights
        ``(X, Y, Z)`` soft mask of registration.
    center
        ``(3,)`` RAS mm, float64.
    radius
        mm, of a ball with the mask's volume.
    """

    weights: Tensor
    center: Tensor
    radius: float

    def surface(self) -> Tensor:
        """Six points on it, ``(6, 3)`` mm."""
        arms = torch.eye(3, dtype=torch.float64, device=self.center.device) * self.radius
        return self.center + torch.cat([arms, -arms])

    def window(self, rim: int) -> tuple[slice, slice, slice]:
        """The part of the grid that holds it, and a rim of so many voxels."""
        inside = torch.nonzero(self.weights > 0)
        low, high = inside.amin(dim=0) - rim, inside.amax(dim=0) + rim + 1
        first, second, third = (
            slice(max(0, start), min(n, stop))
            for start, stop, n in zip(low.tolist(), high.tolist(), self.weights.shape, strict=True)
        )
        return first, second, third


def radius_of(mask: Tensor, affine: Tensor) -> float:
    """Radius in mm of the ball with the mask's volume."""
    volume = float(mask.sum()) * float(torch.linalg.det(affine[:3, :3]).abs())
    return float((3 * volume / (4 * np.pi)) ** (1 / 3))


def centroid(mask: Tensor, affine: Tensor) -> Tensor:
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
    affine = affine.to(middle)
    return affine[:3, :3] @ middle + affine[:3, 3]

"""Isotropic boxes along a volume's own axes: what the networks look at.

Reading a box averages where its voxels are wider than the volume's, so that nothing aliases;
beyond the volume it reads 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.spatial.interpolation import apply_separable


@dataclass(frozen=True)
class Box:
    """A grid of cubic voxels.

    Parameters
    ----------
    spacing
        Of its voxels, mm.
    shape
        ``(X, Y, Z)`` voxels.
    center
        ``(3,)`` where its middle is, mm from the volume's first voxel along the volume's axes.
    """

    spacing: float
    shape: tuple[int, int, int]
    center: tuple[float, float, float]

    def positions(self, axis: int) -> NDArray[np.float64]:
        """Centres of the voxels along an axis, mm from the volume's first voxel."""
        many = self.shape[axis]
        steps = np.arange(many, dtype=np.float64) - (many - 1) / 2
        return np.asarray(self.center[axis] + self.spacing * steps)

    def place(self, index: NDArray[np.integer] | NDArray[np.floating]) -> NDArray[np.float64]:
        """Where a (fractional) index ``(3,)`` is, mm from the volume's first voxel."""
        first = np.array([self.positions(a)[0] for a in range(3)])
        return np.asarray(first + self.spacing * index)

    def read(self, volume: Tensor, sizes: Sequence[float]) -> Tensor:
        """Sample a volume ``(X, Y, Z)`` of voxel `sizes`, mm, on the box."""
        matrices = [
            _weights(self.positions(a) / sizes[a], volume.shape[a], self.spacing / sizes[a])
            for a in range(3)
        ]
        return apply_separable(volume, [m.to(volume) for m in matrices])

    def write(self, values: Tensor, shape: Sequence[int], sizes: Sequence[float]) -> Tensor:
        """Sample values on the box at the voxels of a volume of a shape; 0 outside the box."""
        matrices = []
        for a in range(3):
            places = (np.arange(shape[a]) * sizes[a] - self.positions(a)[0]) / self.spacing
            matrices.append(_weights(places, self.shape[a], sizes[a] / self.spacing))
        return apply_separable(values, [m.to(values) for m in matrices])


def covering(
    shape: Sequence[int], sizes: Sequence[float], spacing: float, multiple: int, fewest: int = 0
) -> Box:
    """Smallest box of `spacing` around all of a volume.

    Its sizes are multiples of `multiple`, and at least `fewest` voxels.
    """
    extents = [n * size for n, size in zip(shape, sizes, strict=True)]
    many = [max(fewest, multiple * int(np.ceil(e / spacing / multiple))) for e in extents]
    middle = [(n - 1) * size / 2 for n, size in zip(shape, sizes, strict=True)]
    return Box(spacing, (many[0], many[1], many[2]), (middle[0], middle[1], middle[2]))


def _weights(places: NDArray[np.float64], many: int, width: float) -> Tensor:
    """Weights ``(P, many)`` of voxels at places given in voxels: a triangle at least one wide."""
    distance = np.abs(places[:, None] - np.arange(many))
    weights = np.clip(1 - distance / max(width, 1.0), 0, None)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-6)
    weights[(places < -0.5) | (places > many - 0.5)] = 0
    return torch.from_numpy(weights.astype(np.float32))

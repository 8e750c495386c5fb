"""A grid with its axes in the order and direction nearest to RAS.

Networks look along a volume's axes, and know the heads of adults as these mostly lie there. A head
is the same one however its voxels are stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray

from unimo_bids.spatial.grid import voxel_sizes

Value = TypeVar("Value", bound=np.generic)
Float64 = NDArray[np.float64]
_RAS = np.array([[0, 1], [1, 1], [2, 1]])


@dataclass(frozen=True)
class Upright:
    """How volumes of a grid are turned: exact, no interpolation.

    Parameters
    ----------
    stored
        ``(4, 4)`` indices → RAS mm.
    shape
        ``(X, Y, Z)`` as stored.
    """

    stored: Float64
    shape: tuple[int, ...]

    @property
    def _orientation(self) -> Float64:
        return np.asarray(io_orientation(self.stored))

    @property
    def affine(self) -> Float64:
        """``(4, 4)`` indices of turned volumes → RAS mm."""
        return np.asarray(self.stored @ inv_ornt_aff(self._orientation, self.shape))

    @property
    def sizes(self) -> Float64:
        """Of turned voxels, mm."""
        return voxel_sizes(torch.from_numpy(self.affine)).numpy()

    def turned(self, volume: NDArray[Value]) -> NDArray[Value]:
        """From axes as stored to those nearest to RAS."""
        return np.ascontiguousarray(apply_orientation(volume, self._orientation))

    def back(self, volume: NDArray[Value]) -> NDArray[Value]:
        """From axes nearest to RAS to those as stored."""
        turn = ornt_transform(_RAS, self._orientation)
        return np.ascontiguousarray(apply_orientation(volume, turn))

    def index(self, stored: Sequence[float]) -> Float64:
        """Index among turned voxels of one among those as stored, ``(3,)``."""
        turn = np.linalg.inv(inv_ornt_aff(self._orientation, self.shape))
        return np.asarray((turn @ [*stored, 1.0])[:3])

    def along_axes(self, place: Sequence[float]) -> Float64:
        """Mm from the first turned voxel along the turned axes of a place, RAS mm."""
        return np.asarray(np.linalg.solve(self.affine, [*place, 1.0])[:3] * self.sizes)

    def world(self, place: Float64) -> Float64:
        """RAS mm of a place along the turned axes."""
        return np.asarray((self.affine @ [*(place / self.sizes), 1.0])[:3])

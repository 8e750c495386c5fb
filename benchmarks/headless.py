"""Real volumes without their head: places without a brain, in real surroundings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_HEAD_MM, _FACE_MM = 9.0, 20.0  # so far from the brain, or from an eye, all is the head's


def without_head(
    volume: NDArray[np.float32],
    brain: NDArray[np.bool_],
    sizes: NDArray[np.float64],
    eyes: Sequence[NDArray[np.float64]] = (),
) -> NDArray[np.float32]:
    """A volume whose head is replaced by its surroundings, mirrored at its surface.

    Parameters
    ----------
    volume, brain
        ``(X, Y, Z)``
    sizes
        ``(3,)`` of the voxels, mm.
    eyes
        ``(3,)`` indices each.
    """
    head = ndimage.distance_transform_edt(~brain, sampling=sizes) < _HEAD_MM
    indices = np.indices(volume.shape)
    for eye in eyes:
        off = (indices - np.reshape(eye, (3, 1, 1, 1))) * np.reshape(sizes, (3, 1, 1, 1))
        head |= np.linalg.norm(off, axis=0) < _FACE_MM
    _, nearest = ndimage.distance_transform_edt(head, sampling=sizes, return_indices=True)
    surface = nearest[:, head]
    beyond = 2 * surface - indices[:, head]
    for axis, many in enumerate(volume.shape):  # the edges of the field of view mirror as well
        period = np.abs(beyond[axis]) % (2 * many)
        beyond[axis] = np.where(period < many, period, 2 * many - 1 - period)
    there = tuple(np.where(head[tuple(beyond)], surface, beyond))
    filled = volume.copy()
    filled[head] = volume[there]
    return filled

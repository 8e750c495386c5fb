"""Phase images: what a full circle is in a file, and how often phase went round."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# files hold radians, 4096 or 8192 steps (Siemens), or thousandths of a radian (GE)
CIRCLES = (2 * np.pi, 4096.0, 2000 * np.pi, 8192.0)
_OVER = 1.001  # as much more may a circle be by rounding; 4095 of 4096 steps are less
_LEAST = 0.25  # of a circle that is no radians: a smaller range is of something else


def circle_of(values: NDArray[np.float32]) -> float | None:
    """A full circle in the unit of a phase image, by the range of its values; None if unknown.

    >>> circle_of(np.array([0.0, 4095.0])), circle_of(np.array([-4096.0, 4094.0]))
    (4096.0, 8192.0)
    """
    extent = float(values.max() - values.min())
    known = [one for one in CIRCLES if extent <= _OVER * one]
    if not known or (known[0] != CIRCLES[0] and extent < _LEAST * known[0]):
        return None
    return float(known[0])


def wrapped(radians: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same angles within ±π."""
    turned: NDArray[np.float64] = np.angle(np.exp(1j * radians))
    return turned


def unwrapped(
    phase: NDArray[np.float64], inside: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Add full circles where phase ``(X, Y, Z)``, radians, went round; its median stays within ±π.

    Neighbours are joined in the order of how straight phase runs at them (as Herráez et al. 2002
    have it, by a spanning tree), each by the full circles that leave the least step.

    Returns
    -------
    unwrapped, inside
        Phase, and where it is known: the largest connected part of what was given. 0 elsewhere.
    """
    from scipy import ndimage, sparse  # few calls need them

    parts, count = ndimage.label(inside)
    if not count:
        return np.zeros_like(phase), inside
    largest = parts == 1 + np.bincount(parts.ravel())[1:].argmax()
    many = int(largest.sum())
    voxel = np.full(phase.shape, -1)
    voxel[largest] = np.arange(many)
    bent = np.zeros_like(phase)
    for axis, n in enumerate(phase.shape):
        if n > 2:
            bend = np.diff(wrapped(np.diff(phase, axis=axis)), axis=axis)
            around = [(1, 1) if one == axis else (0, 0) for one in range(3)]
            bent += np.pad(bend, around, mode="edge") ** 2
    pairs = []
    for axis in range(3):
        both = np.stack([voxel.swapaxes(0, axis)[:-1].ravel(), voxel.swapaxes(0, axis)[1:].ravel()])
        pairs.append(both[:, (both >= 0).all(axis=0)])
    one, other = np.concatenate(pairs, axis=1)
    cost = bent[largest][one] + bent[largest][other] + 1e-9  # an edge of 0 would be none
    graph = sparse.csr_array((cost, (one, other)), shape=(many, many))
    tree = sparse.csgraph.minimum_spanning_tree(graph)
    order, before = sparse.csgraph.breadth_first_order(tree, 0, directed=False)
    before[order[0]] = order[0]
    values = phase[largest]
    turns = -np.round((values - values[before]) / (2 * np.pi))
    while (before != order[0]).any():  # sums on the way to the root, twice as far every time
        turns, before = turns + turns[before], before[before]
    values = values + 2 * np.pi * turns
    out = np.zeros_like(phase)
    out[largest] = values - 2 * np.pi * np.round(np.median(values) / (2 * np.pi))
    return out, largest

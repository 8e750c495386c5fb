"""Frames in the reference's space, made from slices where they truly were.

Within a slice values are cubic. Across slices they are where their poses put them, and not evenly
apart: around each place, a parabola is fitted to what the slices near it show (moving least
squares), as far as there are enough of them to tell one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unimo_bids.registration.least_squares import solve
from unimo_bids.spatial.interpolation import sample_cubic, spline_coefficients
from unimo_bids.spatial.warp import SliceWise

_REACH = 3  # slices either side of the nearest that are looked at
_WIDTH = 0.6  # slices, of the Gaussian that a slice's weight falls by
_RIDGE = torch.tensor([1e-6, 0.02, 0.02])  # for what few slices cannot tell: level, slope, bend
SEEN = 0.5  # of a slice's full weight, that has to come near a place for it to be seen
_POINTS_AT_ONCE = 1 << 15


def rebuild(frame: Tensor, warp: SliceWise, gains: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """A frame without the motion of its slices: values and coverage at places, ``(N,)`` each.

    Coverage is 1 where slices lie as they do in a frame at rest, and less where few came near;
    where it is less than a half, the value is 0: nothing is invented.

    Parameters
    ----------
    frame
        ``(X, Y, Z)``
    warp
        Reference → frame, slice by slice.
    gains
        ``(S,)`` that values are divided by.
    places
        ``(N, 3)`` RAS mm in the reference.
    """
    coefficients = evened(frame, warp.axis, gains)
    parts = [values_at(part, coefficients, warp) for part in places.split(_POINTS_AT_ONCE)]
    values, coverage = (torch.cat(both) for both in zip(*parts, strict=True))
    return values, coverage


def evened(frame: Tensor, axis: int, gains: Tensor) -> Tensor:
    """Spline ``(1, 1, X, Y, Z)`` of a frame whose slices are divided by their gains."""
    shape = [1, 1, 1]
    shape[axis] = len(gains)
    return spline_coefficients(frame / gains.reshape(shape).to(frame))[None, None]


def values_at(places: Tensor, coefficients: Tensor, warp: SliceWise) -> tuple[Tensor, Tensor]:
    """Values and coverage ``(N,)`` at places ``(N, 3)`` of the reference."""
    slices, axis = len(warp.poses), warp.axis
    near = warp.nearest(places)
    moments = torch.zeros(len(places), 5)
    sums = torch.zeros(len(places), 3)
    size = torch.tensor(warp.grid.shape)
    numbers = torch.stack([near + offset for offset in range(-_REACH, _REACH + 1)])
    chosen = numbers.clamp(0, slices - 1)
    index = torch.stack([warp.indices(places, one) for one in chosen])
    apart = index[..., axis] - chosen
    index[..., axis] = chosen.double()
    inside = ((index > -0.5) & (index < size - 0.5)).all(dim=2) & (numbers == chosen)
    weights = (torch.exp(-0.5 * (apart / _WIDTH) ** 2) * inside).float()
    # all at once: to read a few places of a spline costs as much as to read many
    values = sample_cubic(coefficients, index.float().reshape(1, -1, 3)).reshape(weights.shape)
    for weight, away, value in zip(weights, apart.float(), values, strict=True):
        for power in range(5):
            moments[:, power] += weight * away**power
        for power in range(3):
            sums[:, power] += weight * away**power * value
    gram = torch.stack([moments[:, p : p + 3] for p in range(3)], dim=1).double()
    gram = gram + torch.diag(_RIDGE.double()) * gram[:, :1, :1].clamp(min=1e-6)
    level = solve(gram, sums.double())[:, 0].float()
    at_rest = _WIDTH * (2 * torch.pi) ** 0.5
    coverage = (moments[:, 0] / at_rest).clamp(max=1)
    return level * (coverage > SEEN), coverage

"""A volume on a grid of one's own choice, through a motion: the only resampling of images."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from unimo_bids.spatial.grid import Grid, Window, index_map, voxel_centers
from unimo_bids.spatial.interpolation import sample_cubic, sample_linear, spline_coefficients
from unimo_bids.spatial.rigid import transform
from unimo_bids.spatial.warp import Warp, matrix_of
from unimo_bids.words import Interpolation

_POINTS_AT_ONCE = 1 << 20  # bounds the working memory: about 80 MB

# how far a frame is seen beyond its last centres, voxels: a half, and rounding must not put the
# border of an unmoved one outside
RIM = 0.501


def resample(
    image: Tensor,
    grid: Grid,
    warp: Warp,
    *,
    onto: Grid | None = None,
    window: Window | None = None,
    interpolation: Interpolation | Literal["nearest"] = "cubic",
    outside: float = 0.0,
) -> Tensor:
    """An image as the reference would show it: read where the warp puts a grid's voxels.

    Parameters
    ----------
    image
        ``(X, Y, Z)`` or ``(C, X, Y, Z)``
    warp
        Reference → image.
    onto
        The grid that is wanted, if it is not the image's.
    window
        The part of that grid that is wanted; the result has its shape.
    interpolation
        ``nearest`` for labels.
    outside
        Value for voxels that lay outside the field of view, half a voxel beyond the last centres.
    """
    onto = onto or grid
    window = window or (slice(0, onto.shape[0]), slice(0, onto.shape[1]), slice(0, onto.shape[2]))
    x, y, z = (part.stop - part.start for part in window)
    channels = image[None] if image.dim() == 3 else image
    values = spline_coefficients(channels) if interpolation == "cubic" else channels
    out = torch.empty(len(channels), x, y, z, dtype=image.dtype, device=image.device)
    planes = max(1, _POINTS_AT_ONCE // (y * z))
    for start in range(0, x, planes):
        stop = min(start + planes, x)
        block = (slice(window[0].start + start, window[0].start + stop), *window[1:])
        indices = _indices(grid, warp, onto, block, image.device)
        unseen = torch.zeros(indices.shape[1:], dtype=torch.bool, device=image.device)
        for n, index in zip(grid.shape, indices, strict=True):
            unseen |= (index <= -RIM) | (index >= n - 1 + RIM)
        at = indices.reshape(3, -1).T[None]
        if interpolation == "cubic":
            read = sample_cubic(values[None], at)
        else:
            read = sample_linear(values[None], at.round() if interpolation == "nearest" else at)
        out[:, start:stop] = read.reshape(-1, *unseen.shape).masked_fill_(unseen, outside)
    return out[0] if image.dim() == 3 else out


def _indices(grid: Grid, warp: Warp, onto: Grid, window: Window, device: torch.device) -> Tensor:
    """Where the voxels of a window of one grid are in another, ``(3, X, Y, Z)`` float32."""
    steps = [
        torch.arange(part.start, part.stop, dtype=torch.float64, device=device) for part in window
    ]
    matrix = matrix_of(warp)
    if matrix is not None:
        return _summed(index_map(grid.affine, matrix, onto.affine), *steps)
    x, y, z = (len(one) for one in steps)
    first = torch.stack([one[0] for one in steps])
    places = voxel_centers((x, y, z), device) + first
    points = warp(transform(onto.affine.to(places), places))
    return transform(grid.to_index.to(points), points).T.float().reshape(3, x, y, z)


def _summed(to_index: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Indices through an affine: float32, but summed in float64, axis by axis."""
    indices = torch.empty(3, len(x), len(y), len(z), dtype=torch.float32, device=x.device)
    for index, (along_x, along_y, along_z, first) in zip(
        indices, to_index[:3].tolist(), strict=True
    ):
        plane = (along_x * x + first)[:, None] + along_y * y
        torch.add(plane[..., None], along_z * z, out=index)
    return indices

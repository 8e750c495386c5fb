"""A volume on a grid of one's own choice, through a motion: the only resampling of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from unimo_bids.spatial.grids import index_map
from unimo_bids.spatial.interpolation import sample_cubic, sample_linear, spline_coefficients

Interpolation = Literal["cubic", "linear"]
Window = tuple[slice, slice, slice]
_POINTS_AT_ONCE = 1 << 20  # bounds the working memory: about 80 MB


def resample(
    volume: Tensor,
    affine: Tensor,
    pose: Tensor,
    *,
    interpolation: Interpolation = "cubic",
    outside: float = 0.0,
    window: Window | None = None,
    onto: tuple[Sequence[int], Tensor] | None = None,
) -> Tensor:
    """A volume as it would look without its pose, ``(X, Y, Z)``, on the same grid or another.

    Parameters
    ----------
    volume
        ``(X, Y, Z)``
    affine
        ``(4, 4)`` voxel → RAS mm.
    pose
        ``(4, 4)`` RAS mm, reference → volume.
    outside
        Value for voxels that lay outside the field of view, half a voxel beyond the last centres.
    window
        The part of the grid that is wanted; the result has its shape.
    onto
        Shape and affine of the grid that is wanted, if it is not the volume's.
    """
    wanted, affine_wanted = onto or (volume.shape, affine)
    window = window or (slice(0, wanted[0]), slice(0, wanted[1]), slice(0, wanted[2]))
    shape = [part.stop - part.start for part in window]
    images = spline_coefficients(volume) if interpolation == "cubic" else volume
    sample = sample_cubic if interpolation == "cubic" else sample_linear
    to_index = index_map(affine, pose, affine_wanted).double().cpu()
    steps = [
        torch.arange(part.start, part.stop, dtype=torch.float64, device=volume.device)
        for part in window
    ]
    out = torch.empty(*shape, dtype=volume.dtype, device=volume.device)
    planes = max(1, _POINTS_AT_ONCE // (shape[1] * shape[2]))
    for start in range(0, shape[0], planes):
        block = slice(start, start + planes)
        indices = _indices(to_index, steps[0][block], *steps[1:])
        values = sample(images[None, None], indices.reshape(3, -1).T[None])[0, 0]
        unseen = torch.zeros(indices.shape[1:], dtype=torch.bool, device=volume.device)
        for n, index in zip(volume.shape, indices, strict=True):
            # 1e-3: rounding must not put the border of an unmoved frame outside
            unseen |= (index <= -0.501) | (index >= n - 0.499)
        out[block] = values.reshape(unseen.shape).masked_fill_(unseen, outside)
    return out


def _indices(to_index: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Where the voxels of a grid are in another, ``(3, X, Y, Z)`` float32 but summed in float64."""
    indices = torch.empty(3, len(x), len(y), len(z), dtype=torch.float32, device=x.device)
    for index, (along_x, along_y, along_z, first) in zip(
        indices, to_index[:3].tolist(), strict=True
    ):
        plane = (along_x * x + first)[:, None] + along_y * y
        torch.add(plane[..., None], along_z * z, out=index)
    return indices

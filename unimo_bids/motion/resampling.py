"""The corrected series: one cubic resampling from the raw frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
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


def correct_series(
    series: Any,
    affine: NDArray[np.float64],
    poses: NDArray[np.float64],
    *,
    interpolation: Interpolation = "cubic",
    device: str = "cpu",
    progress: Callable[[float, str], None] | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Undo the motion of a series, frame by frame.

    Parameters
    ----------
    series
        ``(X, Y, Z, T)`` array or anything indexed like one; ``series[..., t]`` is read once.
    affine
        ``(4, 4)`` voxel → RAS mm.
    poses
        ``(T, 4, 4)`` RAS mm, reference → volume.

    Yields
    ------
    ndarray
        ``(X, Y, Z)`` float32, frame after frame; 0 where a frame did not see the place. A frame
        that did not move is handed on exactly as it is.
    """
    grid = torch.as_tensor(np.asarray(affine, dtype=np.float64), device=device)
    n_frames = series.shape[3]
    if len(poses) != n_frames:
        raise ValueError(f"{len(poses)} poses for {n_frames} frames")
    for t in range(n_frames):
        raw = np.nan_to_num(np.asarray(series[..., t], dtype=np.float32), posinf=0, neginf=0)
        if np.array_equal(poses[t], np.eye(4)):
            yield raw
        else:
            pose = torch.as_tensor(poses[t], device=device)
            volume = torch.from_numpy(np.ascontiguousarray(raw)).to(device)
            yield resample(volume, grid, pose, interpolation=interpolation).cpu().numpy()
        if progress is not None:
            progress((t + 1) / n_frames, "resampling")

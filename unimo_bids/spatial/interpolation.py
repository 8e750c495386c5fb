"""Values between the voxels, and separable filters as one matrix per axis.

Every separable linear operation on a volume (blur, B-spline prefilter, coarser grid) is a matrix
along each axis; a chain of them is the product of the matrices and costs one pass. Borders are
mirrored about the centre of the outermost voxel throughout, as `scipy.ndimage` does in its
``mirror`` mode.

Why not a library: `torch.nn.functional.grid_sample` has no 3-D cubic, `scipy.ndimage` runs neither
batched nor on CUDA, `torch-interpol` needs a compiler for speed. On one core a cubic value costs
36 ns (scipy's `map_coordinates` and `affine_transform` 130), a linear one 10 (`grid_sample` 23).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

# powers of f → weights of the four taps
_TAPS = (
    torch.tensor([[1, 4, 1, 0], [-3, 0, 3, 0], [3, -6, 3, 0], [-1, 3, -3, 1]], dtype=torch.float64)
    / 6
)
_POINTS_AT_ONCE = 1 << 14  # what is made of them on the way, 4 MB, stays near the processor


def apply_separable(images: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Apply one matrix along each axis: ``(..., X, Y, Z)`` → ``(..., X', Y', Z')``."""
    along_x, along_y, along_z = matrices
    out = images @ along_z.mT
    out = along_y @ out
    shape = out.shape
    out = along_x @ out.reshape(*shape[:-3], shape[-3], -1)
    return out.reshape(*shape[:-3], along_x.shape[0], *shape[-2:])


def _mirrored(index: np.ndarray, n: int) -> np.ndarray:
    """Fold indices back into ``0 … n - 1`` about the first and last sample."""
    if n == 1:
        return np.zeros_like(index)
    period = 2 * (n - 1)
    folded = np.abs(index) % period
    return np.minimum(folded, period - folded)


def _banded(n: int, offsets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """``(n, n)`` matrix of a correlation with mirrored borders."""
    matrix = np.zeros((n, n))
    rows = np.arange(n)
    for offset, weight in zip(offsets, weights, strict=True):
        np.add.at(matrix, (rows, _mirrored(rows + offset, n)), weight)
    return matrix


@cache
def _blur(n: int, sigma: float) -> np.ndarray:
    if sigma < 0.1 or n == 1:  # narrower than the sampling can show
        return np.eye(n)
    reach = int(np.ceil(4 * sigma))
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    return _banded(n, offsets, weights / weights.sum())


@cache
def _spline(n: int) -> np.ndarray:
    if n == 1:
        return np.eye(1)
    inverse = np.linalg.inv(_banded(n, np.array([-1, 0, 1]), np.array([1, 4, 1]) / 6))
    # entries fall by 0.27 per voxel; far ones would be denormal floats, a hundred times slower
    inverse[np.abs(inverse) < 1e-12] = 0
    return inverse


@cache
def _spline_padded(n: int) -> np.ndarray:
    return _spline(n)[_mirrored(np.arange(-1, n + 2), n)]


@cache
def _derivative(n: int) -> np.ndarray:
    if n == 1:
        return np.zeros((1, 1))
    return _banded(n, np.array([-1, 1]), np.array([-0.5, 0.5])) @ _spline(n)


@cache
def _pick(n: int, n_out: int, first: float, step: float) -> np.ndarray:
    """Linear interpolation at ``first + step · m``, held constant beyond the borders."""
    position = np.clip(first + step * np.arange(n_out), 0, n - 1)
    lower = np.minimum(np.floor(position).astype(int), max(n - 2, 0))
    matrix = np.zeros((n_out, n))
    rows = np.arange(n_out)
    matrix[rows, lower] += 1 - (position - lower)
    matrix[rows, np.minimum(lower + 1, n - 1)] += position - lower
    return matrix


def blur_matrix(n: int, sigma: float, like: Tensor) -> Tensor:
    """Gaussian blur of ``sigma`` voxels along an axis of n samples, ``(n, n)``."""
    return torch.as_tensor(_blur(n, float(sigma))).to(like)


def spline_matrix(n: int, like: Tensor) -> Tensor:
    """Samples → padded cubic B-spline coefficients along an axis, ``(n + 3, n)``."""
    return torch.as_tensor(_spline_padded(n)).to(like)


def derivative_matrix(n: int, like: Tensor) -> Tensor:
    """Samples → slope per voxel of their cubic spline, at the samples, ``(n, n)``."""
    return torch.as_tensor(_derivative(n)).to(like)


def pick_matrix(n: int, n_out: int, first: float, step: float, like: Tensor) -> Tensor:
    """Samples at positions ``first + step · m``, ``(n_out, n)``: a coarser (or finer) grid."""
    return torch.as_tensor(_pick(n, n_out, float(first), float(step))).to(like)


def spline_coefficients(images: Tensor) -> Tensor:
    """Cubic B-spline coefficients, ``(..., X, Y, Z)`` → ``(..., X + 3, Y + 3, Z + 3)``.

    One mirrored coefficient stands before and two behind each axis: the taps of every point
    between the first and the last voxel centre exist, and `sample_cubic` never folds an index.
    """
    return apply_separable(images, [spline_matrix(n, images) for n in images.shape[-3:]])


def gaussian_blur(images: Tensor, sigma: Sequence[float]) -> Tensor:
    """Blur ``(..., X, Y, Z)`` by ``sigma`` voxels along each axis."""
    return apply_separable(
        images, [blur_matrix(n, s, images) for n, s in zip(images.shape[-3:], sigma, strict=True)]
    )


def gradient(images: Tensor, affine: Tensor) -> Tensor:
    """Spatial gradient of ``(..., X, Y, Z)`` in the world, per mm: ``(..., X, Y, Z, 3)``."""
    along_x, along_y, along_z = (derivative_matrix(n, images) for n in images.shape[-3:])
    per_voxel = [
        (along_x @ images.flatten(-2)).reshape(images.shape),
        along_y @ images,
        images @ along_z.mT,
    ]
    to_world = torch.linalg.inv(affine[:3, :3]).to(images)
    return torch.stack(per_voxel, dim=-1) @ to_world


def sample_linear(images: Tensor, indices: Tensor) -> Tensor:
    """Trilinear values at voxel indices.

    Parameters
    ----------
    images
        ``(B, C, X, Y, Z)``
    indices
        ``(B, N, 3)`` in voxels; beyond the grid the border's value holds (mask with
        `grid.inside`). Quickest where each of the three lies in one piece in memory.

    Returns
    -------
    Tensor
        ``(B, C, N)``
    """
    first, weights = [], []
    for n, index in zip(images.shape[-3:], indices.unbind(dim=-1), strict=True):
        position = index.clamp(0, n - 1)
        lower = position.floor().clamp(max=max(n - 2, 0))
        f = (position - lower).to(images.dtype)
        first.append(lower)
        weights.append([1 - f, f])
    return _gathered(images, first, weights)


def sample_cubic(coefficients: Tensor, indices: Tensor) -> Tensor:
    """Cubic B-spline values at voxel indices, from `spline_coefficients`; else as `sample_linear`.

    The four taps of a point at ``i + f`` have the weights ``(1-f)³/6``, ``2/3 - f²(2-f)/2``,
    and the same with ``1 - f`` for f in reverse order.
    """
    if coefficients.device.type == "cpu":
        return _bagged(coefficients, indices)
    first, weights = [], []
    for n, index in zip(coefficients.shape[-3:], indices.unbind(dim=-1), strict=True):
        powers = coefficients.new_ones(*index.shape[:-1], 4, index.shape[-1])
        first.append(_powers(index, n, powers))
        weights.append((_TAPS.to(powers).mT @ powers).unbind(dim=-2))
    return _gathered(coefficients, first, weights)


def _powers(index: Tensor, n: int, out: Tensor) -> Tensor:
    """Whole parts of indices ``(..., N)``; f, f², f³ of the rest f go to ``out (..., 4, N)``.

    Its first row is 1 for 1. The tap before a point has its whole part as index, in the padded grid
    of n coefficients.
    """
    position = index.clamp(0, n - 4)
    before = position.floor()
    _, f, square, cube = out.unbind(dim=-2)
    f.copy_(position - before)
    torch.mul(f, f, out=square)
    torch.mul(square, f, out=cube)
    return before


def _gathered(
    images: Tensor, first: Sequence[Tensor], weights: Sequence[Sequence[Tensor]]
) -> Tensor:
    """Sum of K³ neighbours, each axis with its own weights.

    Parameters
    ----------
    images
        ``(B, C, X, Y, Z)``
    first
        Along each axis ``(B, N)``: the neighbour with the lowest index.
    weights
        Along each axis those of the K neighbours, ``(B, N)`` each.
    """
    batch, channels, nx, ny, nz = images.shape
    flat = images.reshape(-1)
    x, y, z = (part.to(torch.int32) for part in first)
    volume = torch.arange(batch * channels, dtype=torch.int32, device=images.device)
    volume = volume.reshape(batch, channels, 1) * (nx * ny * nz)
    start = (volume + ((x * ny + y) * nz + z)[:, None]).reshape(-1)
    along_x, along_y, along_z = (
        [w[:, None].expand(-1, channels, -1).reshape(-1) for w in along] for along in weights
    )
    # a single voxel along an axis is its own neighbour
    strides = [ny * nz * (nx > 1), nz * (ny > 1), int(nz > 1)]
    value = torch.zeros_like(along_x[0])
    for i, weight_x in enumerate(along_x):
        plane = torch.zeros_like(value)
        for j, weight_y in enumerate(along_y):
            offset = i * strides[0] + j * strides[1]
            line = torch.zeros_like(value)
            for k, weight_z in enumerate(along_z):
                tap = flat[offset + k * strides[2] :].index_select(0, start)
                line.addcmul_(tap, weight_z)
            plane.addcmul_(line, weight_y)
        value.addcmul_(plane, weight_x)
    return value.reshape(batch, channels, -1)


def _bagged(coefficients: Tensor, indices: Tensor) -> Tensor:
    """`sample_cubic` on a processor, in less than half the time of `_gathered`.

    Four neighbours along the last axis are read as one; the 16 lines of a point are an "embedding
    bag", for which PyTorch has a compiled loop.
    """
    batch, channels, nx, ny, nz = coefficients.shape
    of_lines = [
        _TAPS.repeat_interleave(4, dim=1).to(coefficients),
        _TAPS.repeat(1, 4).to(coefficients),
    ]
    steps = torch.arange(4, dtype=torch.int32)
    lines = (steps[:, None] * (ny * nz) + steps * nz).reshape(-1)
    values = torch.empty(batch, channels, indices.shape[1], dtype=coefficients.dtype)
    powers = coefficients.new_ones(3, 4, min(indices.shape[1], _POINTS_AT_ONCE))
    for b in range(batch):
        # only planes that are looked at
        low, high = (int(end.clamp(0, nx - 4)) for end in indices[b, :, 0].aminmax())
        planes = coefficients[b, :, low : high + 4].reshape(channels, -1)
        strips = [_strips(plane, 4) for plane in planes]
        for at in range(0, indices.shape[1], _POINTS_AT_ONCE):
            part = slice(at, at + _POINTS_AT_ONCE)
            along = powers[..., : len(indices[b, part])]
            x, y, z = map(_powers, indices[b, part].unbind(-1), (nx, ny, nz), along)
            along_x, along_y, along_z = along
            start = ((x.int() - low) * ny + y.int()) * nz + z.int()
            weights = (along_x.mT @ of_lines[0]).mul_(along_y.mT @ of_lines[1])
            last = _TAPS.to(along_z).mT @ along_z
            for c, strip in enumerate(strips):
                line = embedding_bag(
                    start[:, None] + lines, strip, per_sample_weights=weights, mode="sum"
                )
                value = values[b, c, part]
                torch.mul(line[:, 0], last[0], out=value)
                for k in range(1, 4):
                    value.addcmul_(line[:, k], last[k])
    return values


def _strips(flat: Tensor, length: int) -> Tensor:
    """Every value with those that follow it, ``(N - length + 1, length)``."""
    return flat.as_strided((len(flat) - length + 1, length), (1, 1)).contiguous()

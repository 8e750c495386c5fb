"""Values between the voxels, and separable filters as one matrix per axis.

Every separable linear operation on a volume (blur, B-spline prefilter, coarser grid) is a matrix
along each axis; a chain of them is the product of the matrices and costs one pass. Borders are
mirrored about the centre of the outermost voxel throughout, as `scipy.ndimage` does in its
``mirror`` mode.

Why not a library: `torch-interpol` and scipy evaluate 64 taps per point; eight linear lookups in
the B-spline coefficients give the same cubic value (Sigg & Hadwiger 2005), on CPU and CUDA from the
same code, batched.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product

import numpy as np
import torch
from torch import Tensor

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
    return np.linalg.inv(_banded(n, np.array([-1, 0, 1]), np.array([1, 4, 1]) / 6))

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
    """Samples → cubic B-spline coefficients along an axis of n samples, ``(n, n)``."""
    return torch.as_tensor(_spline(n)).to(like)

def pick_matrix(n: int, n_out: int, first: float, step: float, like: Tensor) -> Tensor:
    """Samples at positions ``first + step · m``, ``(n_out, n)``: a coarser (or finer) grid."""
    return torch.as_tensor(_pick(n, n_out, float(first), float(step))).to(like)

def spline_coefficients(images: Tensor) -> Tensor:
    """Cubic B-spline coefficients of ``(..., X, Y, Z)``, so that `sample_cubic` interpolates."""
    return apply_separable(images, [spline_matrix(n, images) for n in images.shape[-3:]])

def gaussian_blur(images: Tensor, sigma: Sequence[float]) -> Tensor:
    """Blur ``(..., X, Y, Z)`` by ``sigma`` voxels along each axis."""
    return apply_separable(
        images, [blur_matrix(n, s, images) for n, s in zip(images.shape[-3:], sigma, strict=True)]
    )

def sample_linear(images: Tensor, indices: Tensor) -> Tensor:
    """Trilinear values at voxel indices.

    Parameters
    ----------
    images
        ``(B, C, X, Y, Z)``
    indices
        ``(B, N, 3)`` in voxels; mirrored at the borders (mask with `grids.inside`).

    Returns
    -------
    Tensor
        ``(B, C, N)``
    """
    size = torch.tensor(images.shape[-3:], dtype=indices.dtype, device=indices.device)
    # grid_sample runs from -1 (first voxel centre) to 1 (last), last image axis first
    unit = torch.where(size > 1, 2 * indices / (size - 1).clamp(min=1) - 1, torch.zeros_like(size))
    grid = unit.flip(-1)[:, :, None, None, :].to(images.dtype)
    return torch.nn.functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="reflection", align_corners=True
    )[..., 0, 0]

def sample_cubic(coefficients: Tensor, indices: Tensor) -> Tensor:
    """Cubic B-spline values at voxel indices, from `spline_coefficients`; as `sample_linear`.

    Along one axis the four taps ``w₋₁ … w₂`` at ``i + f`` are two linear lookups: with
    ``g₀ = w₋₁ + w₀`` and ``g₁ = w₁ + w₂``, at ``i - 1 + w₀/g₀`` and ``i + 1 + w₂/g₁``.
    """
    whole = indices.floor()
    f = (indices - whole).to(coefficients.dtype)
    e = 1 - f
    w_before, w_after = e**3 / 6, f**3 / 6
    w_0 = 2 / 3 - f**2 * (2 - f) / 2
    w_1 = 2 / 3 - e**2 * (2 - e) / 2
    g = (w_before + w_0, w_1 + w_after)
    position = (whole - 1 + w_0 / g[0], whole + 1 + w_after / g[1])
    value = torch.zeros((), dtype=coefficients.dtype, device=coefficients.device)
    for sides in product((0, 1), repeat=3):
        where = torch.stack([position[s][..., axis] for axis, s in enumerate(sides)], dim=-1)
        weight = g[sides[0]][..., 0] * g[sides[1]][..., 1] * g[sides[2]][..., 2]
        term = weight[:, None] * sample_linear(coefficients, where)
        value = value + term

    return value

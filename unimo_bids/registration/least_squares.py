"""Least squares for many frames at once: solving small systems, and the scale of residuals."""

from __future__ import annotations

import torch
from torch import Tensor

# of the normal distribution: standard deviation per median absolute deviation
_SIGMA_PER_MAD = 1.4826


def solve(gram: Tensor, rhs: Tensor) -> Tensor:
    """Solve small symmetric systems, ``(B, K, K)``; a relative ridge keeps singular ones finite."""
    diagonal = gram.diagonal(dim1=-2, dim2=-1)
    ridge = 1e-7 * diagonal + 1e-12 * diagonal.amax(dim=-1, keepdim=True) + 1e-30
    matrix = gram + torch.diag_embed(ridge)
    if rhs.dim() == gram.dim() - 1:
        return torch.linalg.solve(matrix, rhs[..., None])[..., 0]
    return torch.linalg.solve(matrix, rhs)


def robust_scale(residual: Tensor, view: Tensor) -> Tensor:
    """Standard deviation from the median absolute residual of points in view, ``(B,)``."""
    stride = max(1, residual.shape[-1] // 4096)
    thin = residual[:, ::stride].abs()
    thin = torch.where(view[:, ::stride] > 0.05, thin, torch.nan)
    scale = _SIGMA_PER_MAD * thin.nanmedian(dim=-1).values
    return torch.nan_to_num(scale, nan=1.0).clamp(min=1e-6)


def products(rows: Tensor) -> Tensor:
    """Products of each two of ``(K, N)``, ``(K (K + 1) / 2, N)``."""
    first, second = torch.triu_indices(len(rows), len(rows), device=rows.device)
    return rows[first] * rows[second]


def symmetric(sums: Tensor, size: int) -> Tensor:
    """Matrices ``(B, K, K)`` float64 from what the rows of `products` sum up to, ``(B, ...)``."""
    first, second = torch.triu_indices(size, size, device=sums.device)
    matrix = torch.empty(len(sums), size, size, dtype=torch.float64, device=sums.device)
    matrix[:, first, second] = matrix[:, second, first] = sums.double()
    return matrix

"""Conjugate gradients, for the linear problems of fields."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

LinearMap = Callable[[Tensor], Tensor]


def conjugate_gradients(
    matrix: LinearMap,
    preconditioner: LinearMap,
    right: Tensor,
    steps: int,
    *,
    relative: float = 0.0,
    absolute: float = 0.0,
) -> Tensor:
    """Solve ``matrix(x) = right`` for a symmetric positive matrix, from x = 0.

    It ends after `steps`, or when the squared residual, in the metric of the preconditioner, is
    below `absolute`, or `relative` times what it was at first.
    """
    found, residual = torch.zeros_like(right), right
    direction = preconditioner(residual)
    square = (residual * direction).sum()
    least = max(relative * float(square), absolute)
    for _ in range(steps):
        if float(square) <= least:
            break
        ahead = matrix(direction)
        length = square / (direction * ahead).sum()
        found, residual = found + length * direction, residual - length * ahead
        eased = preconditioner(residual)
        before, square = square, (residual * eased).sum()
        direction = eased + square / before * direction
    return found

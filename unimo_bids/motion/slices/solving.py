"""One banded problem for all knots of a trajectory: equations, what bends cost, solution."""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import LinAlgError, solveh_banded
from torch import Tensor

from unimo_bids.motion.slices.trajectory import Trajectory


class State:
    """Normal equations of K knots, blocks on the diagonal and beside it; what goes with them."""

    def __init__(self, knots: int, frames: int, slices: int) -> None:
        self.diagonal = torch.zeros(knots, 6, 6, dtype=torch.float64)
        self.beside = torch.zeros(knots, 6, 6, dtype=torch.float64)  # of k and k + 1
        self.rhs = torch.zeros(knots, 6, dtype=torch.float64)
        self.cost = 0.0
        self.similarity = np.full(frames, np.nan)
        self.gains = np.ones((frames, slices))

    def add(self, before: Tensor, fraction: Tensor, hessian: Tensor, rhs: Tensor) -> None:
        """Share slices' equations among their knots."""
        a = fraction[:, None, None]
        self.diagonal.index_add_(0, before, (1 - a) ** 2 * hessian)
        self.diagonal.index_add_(0, before + 1, a**2 * hessian)
        self.beside.index_add_(0, before, a * (1 - a) * hessian)
        self.rhs.index_add_(0, before, (1 - a[..., 0]) * rhs)
        self.rhs.index_add_(0, before + 1, a[..., 0] * rhs)


class BendPrior:
    """What bends cost: ``Σ 3 log(1 + |d|² / 6s²)``, with d the bend at a knot."""

    def __init__(self, trajectory: Trajectory, radius: float, scale: float) -> None:
        self.bends, self.shares = trajectory.bends(radius)
        squared = self.bends.square().sum(dim=1)
        self.weights = 1 / (scale**2 + squared / 6)
        self.cost = float(3 * torch.log1p(squared / (6 * scale**2)).sum())


def solved(state: State, prior: BendPrior, damping: float) -> Tensor:
    """Step ``(K, 6)`` of all knots: five blocks wide, as a bend joins three knots."""
    knots = len(state.rhs)
    eye = torch.eye(6, dtype=torch.float64)
    blocks = [torch.zeros(knots, 6, 6, dtype=torch.float64) for _ in range(3)]
    blocks[0] += state.diagonal
    blocks[1] += state.beside
    rhs = state.rhs.clone()
    w = prior.weights[:, None, None] * eye
    for one, share in enumerate(prior.shares.T):
        here = slice(one, knots - 2 + one)
        rhs[here] -= (share * prior.weights)[:, None] * prior.bends
        for other in range(one, 3):
            both = share * prior.shares[:, other]
            blocks[other - one][here] += both[:, None, None] * w
    ridge = 1e-9 * blocks[0].diagonal(dim1=1, dim2=2).amax(dim=1).clamp(min=1e-6)
    diagonal = blocks[0].diagonal(dim1=1, dim2=2)
    blocks[0] = blocks[0] + torch.diag_embed(damping * diagonal + ridge[:, None])
    # lower band: row r of column c holds A[c + r, c]
    band = np.zeros((18, 6 * knots))
    for distance, block in enumerate(blocks):
        values = block.numpy()
        for i in range(6):
            for j in range(6):
                # A[6 (k + distance) + j, 6 k + i] = block[k, i, j]
                row = 6 * distance + j - i
                if row < 0:
                    continue
                columns = 6 * np.arange(knots - distance) + i
                band[row, columns] = values[: knots - distance, i, j]
    try:
        step = solveh_banded(band, rhs.numpy().reshape(-1), lower=True)
    except LinAlgError:
        return torch.zeros(knots, 6, dtype=torch.float64)
    return torch.from_numpy(step).reshape(knots, 6)

"""One banded problem for all knots of a trajectory: equations, what bends cost, solution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unimo_bids.motion.slices.trajectory import Trajectory, away


@dataclass(frozen=True, eq=False)
class SliceEquations:
    """Of S slices, each for its own pose.

    Attributes
    ----------
    hessian
        ``(S, 6, 6)``
    rhs
        ``(S, 6)``
    cost
        ``(S,)`` as observations.
    """

    hessian: Tensor
    rhs: Tensor
    cost: Tensor


class State:
    """Normal equations of K knots, blocks on the diagonal and beside it; what goes with them."""

    def __init__(self, knots: int, frames: int, slices: int) -> None:
        self.diagonal = torch.zeros(knots, 6, 6, dtype=torch.float64)
        self.beside = torch.zeros(knots, 6, 6, dtype=torch.float64)  # of k and k + 1
        self.rhs = torch.zeros(knots, 6, dtype=torch.float64)
        self.cost = 0.0
        self.similarity = np.full(frames, np.nan)
        self.gains = np.ones((frames, slices))
        self.of_slices = SliceEquations(
            torch.zeros(frames, slices, 6, 6, dtype=torch.float64),
            torch.zeros(frames, slices, 6, dtype=torch.float64),
            torch.zeros(frames, slices, dtype=torch.float64),
        )

    def add(self, before: Tensor, fraction: Tensor, equations: SliceEquations) -> None:
        """Share slices' equations among their knots."""
        hessian, rhs = equations.hessian, equations.rhs
        a = fraction[:, None, None]
        self.diagonal.index_add_(0, before, (1 - a) ** 2 * hessian)
        self.diagonal.index_add_(0, before + 1, a**2 * hessian)
        self.beside.index_add_(0, before, a * (1 - a) * hessian)
        self.rhs.index_add_(0, before, (1 - a[..., 0]) * rhs)
        self.rhs.index_add_(0, before + 1, a[..., 0] * rhs)

    def keep(self, frame: Tensor, number: Tensor, equations: SliceEquations, gains: Tensor) -> None:
        """What slices, by frame and number, say by themselves."""
        self.of_slices.hessian[frame, number] = equations.hessian
        self.of_slices.rhs[frame, number] = equations.rhs
        self.of_slices.cost[frame, number] = equations.cost
        self.gains[frame.numpy(), number.numpy()] = gains.numpy()
        self.cost += float(equations.cost.sum())


class BendPrior:
    """What bends cost: ``Σ 3 log(1 + |d|² / 6s²)``, with d the bend at a knot."""

    def __init__(self, trajectory: Trajectory, radius: float, scale: float) -> None:
        self.bends, self.shares = trajectory.bends(radius)
        squared = self.bends.square().sum(dim=1)
        self.weights = 1 / (scale**2 + squared / 6)
        self.cost = float(3 * torch.log1p(squared / (6 * scale**2)).sum())


class AnchorPrior:
    """What it costs to leave the frames' own poses: ``Σ 3 log(1 + |d|² / 6s²)``, d from the start.

    Where slices tell little, the trajectory so stays with what the whole frame told.
    """

    def __init__(
        self, trajectory: Trajectory, start: Trajectory, scales: Tensor, radius: float
    ) -> None:
        self.away = away(start.knots, trajectory.knots, start.center, radius)
        squared = self.away.square().sum(dim=1)
        self.weights = 1 / (scales**2 + squared / 6)
        self.cost = float(3 * torch.log1p(squared / (6 * scales**2)).sum())


def assembled(state: State, bends: BendPrior, anchor: AnchorPrior) -> tuple[list[Tensor], Tensor]:
    """Blocks ``(K, 6, 6)`` of each knot with itself and the next two; right-hand side ``(K, 6)``.

    A bend joins three knots.
    """
    knots = len(state.rhs)
    eye = torch.eye(6, dtype=torch.float64)
    blocks = [
        state.diagonal + anchor.weights[:, None, None] * eye,
        state.beside.clone(),
        torch.zeros(knots, 6, 6, dtype=torch.float64),
    ]
    rhs = state.rhs - anchor.weights[:, None] * anchor.away
    w = bends.weights[:, None, None] * eye
    for one, share in enumerate(bends.shares.T):
        here = slice(one, knots - 2 + one)
        rhs[here] -= (share * bends.weights)[:, None] * bends.bends
        for other in range(one, 3):
            both = share * bends.shares[:, other]
            blocks[other - one][here] += both[:, None, None] * w
    return blocks, rhs


def solved(state: State, bends: BendPrior, anchor: AnchorPrior, damping: float) -> Tensor:
    """Step ``(K, 6)`` of all knots, by one banded solution."""
    from scipy.linalg import LinAlgError, solveh_banded  # most runs have no slice times

    blocks, rhs = assembled(state, bends, anchor)
    knots = len(rhs)
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


def knot_covariance(blocks: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Covariance ``(K, 6, 6)`` of each knot, and of it with the next, ``(K - 1, 6, 6)``.

    That is the inverse near its diagonal. Two knots at a time D is block-tridiagonal with E beside;
    forward ``S' = D' - Eᵀ S⁻¹ E``, and back ``C = S⁻¹ + G C' Gᵀ``, ``G = S⁻¹ E``.
    """
    knots = len(blocks[0])
    pairs = (knots + 1) // 2
    padded = [torch.cat([one, torch.zeros(3, 6, 6, dtype=one.dtype)]) for one in blocks]
    if knots % 2:
        padded[0][knots] = torch.eye(6, dtype=torch.float64)
    of, with_next, with_second = (one[: 2 * pairs].reshape(pairs, 2, 6, 6) for one in padded)
    d = _joined(of[:, 0], with_next[:, 0], with_next[:, 0].mT, of[:, 1])
    # the row of a pair's first knot, of its second; the columns of the next pair's two knots
    e = _joined(with_second[:, 0], torch.zeros_like(of[:, 0]), with_next[:, 1], with_second[:, 1])
    inverse = [torch.linalg.inv(d[0])]
    for j in range(1, pairs):
        inverse.append(torch.linalg.inv(d[j] - e[j - 1].mT @ inverse[-1] @ e[j - 1]))
    c, across = [inverse[-1]], []
    for j in range(pairs - 2, -1, -1):
        g = inverse[j] @ e[j]
        across.append(-g @ c[-1])
        c.append(inverse[j] + g @ c[-1] @ g.mT)
    own = torch.stack(c[::-1])
    beside = torch.zeros(pairs, 2, 6, 6, dtype=torch.float64)
    beside[:, 0] = own[:, :6, 6:]
    if across:
        beside[:-1, 1] = torch.stack(across[::-1])[:, 6:, :6]
    single = torch.stack([own[:, :6, :6], own[:, 6:, 6:]], dim=1).reshape(-1, 6, 6)
    return single[:knots], beside.reshape(-1, 6, 6)[: knots - 1]


def _joined(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Matrices ``(N, 12, 12)`` of blocks a, b above c, d."""
    return torch.cat([torch.cat([a, b], dim=2), torch.cat([c, d], dim=2)], dim=1)

"""Twelve numbers between two heads of any contrast: the affine at which they share most.

``S(A) = I(F, M) - k mean (f - m)²`` over the points x of the fixed head: F is the fixed image at x
and M the moving one at A x, f and m the soft masks there. Mutual information, ``I = Σ p(F, M) log
p(F, M) / (p(F) p(M))``, asks only that one image tells something of the other, so a template may
have any contrast; the outline is common to all. Bins overlap as triangles, so that I has a slope in
M; the slope of M is its gradient, and the rest is the chain rule.

Why not Gauss–Newton on classes of intensity, as for poses: an affine can shrink a head into a
place where nothing changes, which any class explains; mutual information has nothing to gain there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.brain.head import ADULT_RADIUS
from unimo_bids.registration.sides import Side
from unimo_bids.spaces.thresholds import AFFINE
from unimo_bids.spatial import rigid
from unimo_bids.spatial.interpolation import gradient, sample_linear

_BINS = 32  # of each image: finer ones are nearly empty, coarser ones merge tissues


@dataclass(frozen=True)
class Step:
    """Resolution at which heads are compared.

    Attributes
    ----------
    blur
        Standard deviation, mm for an adult head; never finer than the voxels.
    points, iterations
        At most.
    """

    blur: float
    points: int
    iterations: int


COARSE, FINE = Step(6.0, 4_000, 25), Step(3.0, 12_000, 40)


@dataclass(frozen=True, eq=False)
class Fit:
    """An affine, and the mutual information of the heads there.

    Attributes
    ----------
    matrix
        ``(4, 4)`` float64 RAS mm, fixed → moving.
    shared
        S, nats.
    """

    matrix: Tensor
    shared: float


def fit_affine(
    fixed: Side, moving: Side, start: Tensor, step: Step, *, same_head: bool = False
) -> Fit:
    """The affine near `start` ``(4, 4)`` at which two masked heads have most in common.

    One head in both is turned and shifted alone, by six numbers.
    """
    from scipy.optimize import minimize  # most runs stay in their own space

    heads = TwoHeads(fixed, moving, step)
    start = start.double().cpu()
    begun = _stretch(start)

    def cost(numbers: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        given = torch.from_numpy(numbers).requires_grad_()
        path = start @ heads.small(given)
        matrix = path.detach()
        shared, slope = heads.shared(matrix)
        stretch = _stretch(matrix) - begun
        prior = AFFINE.prior / AFFINE.stretch**2 * float(stretch.square().sum())
        of_prior = 2 * AFFINE.prior / AFFINE.stretch**2 * matrix[:3, :3] @ stretch
        linear = of_prior - slope.mT @ heads.points
        of_matrix = torch.cat([linear, -slope.sum(dim=0)[:, None]], dim=1)
        (of_numbers,) = torch.autograd.grad(path[:3], given, of_matrix)
        return prior - shared, of_numbers.numpy()

    begin = np.zeros(6 if same_head else 12)
    found = minimize(cost, begin, jac=True, method="L-BFGS-B", options={"maxiter": step.iterations})
    matrix = start @ heads.small(torch.from_numpy(found.x))
    return Fit(matrix, heads.shared(matrix)[0])


class TwoHeads:
    """Both at one resolution, and the points that they are compared at."""

    def __init__(self, fixed: Side, moving: Side, step: Step) -> None:
        self.center, self.radius = fixed.head.center.cpu(), fixed.head.radius
        blur = step.blur * self.radius / ADULT_RADIUS
        blur = max(blur, 0.7 * fixed.grid.widest, 0.7 * moving.grid.widest)
        levels = [side.level(blur, spacing=0.8 * blur) for side in (fixed, moving)]
        here, there = (
            level.image(cut_out(side)).cpu()
            for level, side in zip(levels, (fixed, moving), strict=True)
        )
        weights = levels[0].image(fixed.head.weights).double().cpu().clamp(0, 1)
        voxels = (weights > 0.05).nonzero()
        voxels = voxels[:: max(1, len(voxels) // step.points)]
        where = voxels.unbind(dim=-1)
        self.points = rigid.transform(levels[0].grid.affine, voxels.double())
        self.weights = weights[where]
        self.fixed = _Bins(here[0]).of(here[0][where].double())
        self.outline = here[1][where].double()
        self.level, self.bins = levels[1], _Bins(there[0])
        slopes = gradient(there, self.level.grid.affine).movedim(-1, 1)  # (2, 3, X, Y, Z)
        self.moving = torch.cat([there, slopes.flatten(0, 1)])[None]

    def small(self, numbers: Tensor) -> Tensor:
        """An affine near 1 from ``(12,)``, mm at the head's surface: x ↦ c + (1 + L)(x - c) + t.

        From ``(6,)``, a turn about c and a shift.
        """
        if len(numbers) == 6:
            return rigid.from_parameters(numbers[:3] / self.radius, numbers[3:], self.center)
        parts = numbers.reshape(3, 4)
        linear = torch.eye(3, dtype=torch.float64) + parts[:, :3] / self.radius
        return rigid.from_rotation(linear, parts[:, 3] + self.center - linear @ self.center)

    def shared(self, matrix: Tensor) -> tuple[float, Tensor]:
        """S at an affine, and its slope where each point then is, ``(N, 3)``."""
        at = rigid.transform(self.level.grid.to_index @ matrix, self.points)
        weights = self.weights * self.level.validity(at)
        weights = weights / weights.sum().clamp(min=1e-9)
        read = sample_linear(self.moving, at[None].float())[0].double()
        value, outline, of_value, of_outline = read[0], read[1], read[2:5].mT, read[5:8].mT
        (lower, below), (upper, above) = self.bins.of(value)
        joint = torch.zeros(_BINS * _BINS, dtype=torch.float64)
        for i, a in self.fixed:
            for j, b in ((lower, below), (upper, above)):
                joint.index_add_(0, i * _BINS + j, weights * a * b)
        joint = joint.reshape(_BINS, _BINS).clamp(min=1e-12)
        ratio = (joint / (joint.sum(dim=1, keepdim=True) * joint.sum(dim=0))).log()
        # a value that rises moves weight from its lower bin to its upper one
        gain = torch.stack([a * (ratio[i, upper] - ratio[i, lower]) for i, a in self.fixed]).sum(0)
        apart = outline - self.outline
        shared = (joint * ratio).sum() - AFFINE.outline * (weights * apart.square()).sum()
        slope = (weights * gain * self.bins.per_value)[:, None] * of_value
        slope -= 2 * AFFINE.outline * (weights * apart)[:, None] * of_outline
        return float(shared), slope


class _Bins:
    """Bins from 0 to the brightest values of an image; they overlap as triangles."""

    def __init__(self, image: Tensor) -> None:
        values = image[image > 0]
        top = float(values[:: max(1, len(values) // 1_000_000)].quantile(0.999))
        self.per_value = (_BINS - 1) / top

    def of(self, values: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The two bins of each value, and its share in them."""
        place = (values * self.per_value).clamp(0, _BINS - 1 - 1e-6)
        lower = place.long()
        share = place - lower
        return [(lower, 1 - share), (lower + 1, share)]


def cut_out(side: Side) -> Tensor:
    """A head by itself, and its soft mask, ``(2, X, Y, Z)``."""
    mask = side.head.weights if side.mask is None else side.mask
    return torch.stack([side.volume * mask, mask])


def _stretch(matrix: Tensor) -> Tensor:
    """How an affine stretches, ``(3, 3)``: ``(Aᵀ A - 1) / 2``, 0 for a rotation."""
    linear = matrix[:3, :3]
    return (linear.mT @ linear - torch.eye(3).to(linear)) / 2

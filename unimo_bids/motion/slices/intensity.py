"""How bright one frame's slices are by the template, and what that says of their poses."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unimo_bids.motion.slices.solving import SliceEquations
from unimo_bids.registration.intensity import CAUCHY
from unimo_bids.registration.least_squares import solve

_COUNT = 0.07  # of a voxel as an observation: blur makes neighbours agree
_GAIN_SPREAD = 0.15  # of slices' gains about their frame's
_OFF = 3.0  # standard deviations that a voxel costs which has left the head: leaving is no way out


@dataclass(frozen=True, eq=False)
class Points:
    """Voxels of one frame that are compared.

    Attributes
    ----------
    index
        ``(N, 3)`` float32
    slice_of
        ``(N,)``
    place
        ``(N, 3)`` in the scanner, relative to the frame's head, radii.
    values, weights
        ``(N,)``, the latter of the head where the points were chosen.
    """

    index: Tensor
    slice_of: Tensor
    place: Tensor
    values: Tensor
    weights: Tensor


class SliceIntensity:
    """Intensities of one frame: gain, its slope in the scanner, offset, and gains of slices.

    Parameters
    ----------
    points
        Of the frame.
    f, weights
        ``(N,)`` template and head where the points are now.
    slices
        How many.
    """

    def __init__(self, points: Points, f: Tensor, weights: Tensor, slices: int) -> None:
        self.points, self.f, self.weights, self.slices = points, f, weights, slices
        m = points.values
        columns = torch.cat([f[None], f * points.place.T, torch.ones_like(f)[None]])
        gram = ((weights * columns) @ columns.T).double()
        rhs = ((weights * m) @ columns.T).double()
        coefficients = solve(gram[None], rhs[None])[0].float()
        self.gain = coefficients[0] + points.place @ coefficients[1:4]
        self.offset = coefficients[4]
        self.gains = torch.ones(slices)
        explained = self.gain * f
        rest = m - explained - self.offset
        variance = (weights * rest**2).sum() / weights.sum().clamp(min=1e-6)
        shrink = variance / (_COUNT * _GAIN_SPREAD**2)
        top = torch.zeros(slices).index_add_(0, points.slice_of, weights * explained * rest)
        bottom = torch.zeros(slices).index_add_(0, points.slice_of, weights * explained**2)
        self.gains = 1 + top / (bottom + shrink).clamp(min=1e-12)
        self.gain = self.gain * self.gains[points.slice_of]

    def residual(self) -> Tensor:
        """What the model leaves, ``(N,)``."""
        return self.points.values - self.gain * self.f - self.offset

    def similarity(self) -> float:
        """Correlation of the frame with the model."""
        w = self.weights / self.weights.sum().clamp(min=1e-6)
        m = self.points.values
        total = (w * (m - (w * m).sum()) ** 2).sum()
        left = (w * self.residual() ** 2).sum()
        return float((1 - left / total.clamp(min=1e-12)).clamp(0, 1).sqrt())

    def normal_equations(self, steepest: Tensor, sigma: float, stays: bool) -> SliceEquations:
        """Of each slice, and its cost.

        Parameters
        ----------
        steepest
            ``(N, 6)`` change of the template by a motion of the slice, per mm.
        sigma
            Of residuals.
        stays
            Whether the frame's pose is believed: its points then belong to the head.
        """
        r = self.residual() / sigma
        squared = (r / CAUCHY) ** 2
        weights = _COUNT * self.weights / (1 + squared)
        jacobian = -(self.gain / sigma)[:, None] * steepest
        first, second = torch.triu_indices(6, 6)
        products = torch.cat(
            [
                (weights[:, None] * jacobian)[:, first] * jacobian[:, second],
                (weights * r)[:, None] * jacobian,
            ],
            dim=1,
        )
        sums = torch.zeros(self.slices, 27).index_add_(0, self.points.slice_of, products).double()
        hessian = torch.empty(self.slices, 6, 6, dtype=torch.float64)
        hessian[:, first, second] = hessian[:, second, first] = sums[:, :21]
        left = (self.points.weights - self.weights).clamp(min=0) * stays
        costs = self.weights * torch.log1p(squared) + left * math.log1p((_OFF / CAUCHY) ** 2)
        cost = torch.zeros(self.slices).index_add_(0, self.points.slice_of, costs)
        return SliceEquations(hessian, sums[:, 21:], cost.double() * _COUNT * CAUCHY**2 / 2)

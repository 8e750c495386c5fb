"""How bright slices are by the template, and what that says of their poses."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unimo_bids.motion.slices.points import Points
from unimo_bids.motion.slices.solving import SliceEquations
from unimo_bids.registration.intensity import CAUCHY
from unimo_bids.registration.least_squares import robust_scale, solve

_COUNT = 0.07  # of a voxel as an observation: blur makes neighbours agree
_GAIN_SPREAD = 0.15  # of slices' gains about their frame's
_OFF = 3.0  # standard deviations that a voxel costs by which a slice has left the head


class SliceIntensity:
    """Intensities of some frames: gain, its slope in the scanner, offset, and gains of slices.

    Parameters
    ----------
    points
        Of M slices.
    f, weights
        ``(M, P)`` template and head where the points are now.
    radius
        ``(3,)`` of the head, voxels.
    """

    def __init__(self, points: Points, f: Tensor, weights: Tensor, radius: Tensor) -> None:
        self.points, self.f, self.weights = points, f, weights
        m = points.values
        place = points.index / radius[:, None]
        columns = torch.cat([f[:, None], f[:, None] * place, torch.ones_like(f)[:, None]], dim=1)
        weighted = columns * weights[:, None]
        gram = self.of_frames((weighted @ columns.mT).double())
        rhs = self.of_frames((weighted @ m[..., None]).double())[..., 0]
        coefficients = solve(gram, rhs)[points.row].float()
        explained = (coefficients[:, None, :4] @ columns[:, :4])[:, 0]
        self.offset = coefficients[:, 4:]
        rest = m - explained - self.offset
        variance = self.of_frames((weights * rest**2).sum(dim=1)) / self.of_frames(
            weights.sum(dim=1)
        ).clamp(min=1e-6)
        shrink = variance[points.row] / (_COUNT * _GAIN_SPREAD**2)
        top = (weights * explained * rest).sum(dim=1)
        bottom = (weights * explained**2).sum(dim=1)
        self.gains = 1 + top / (bottom + shrink).clamp(min=1e-12)
        slope = (coefficients[:, None, 1:4] @ place)[:, 0]
        self.gain = (coefficients[:, :1] + slope) * self.gains[:, None]
        self.residual = m - self.gains[:, None] * explained - self.offset

    def of_frames(self, of_slices: Tensor) -> Tensor:
        """Sums ``(F, …)`` over the slices of each frame ``(M, …)``."""
        shape = len(self.points.frames), *of_slices.shape[1:]
        return of_slices.new_zeros(shape).index_add_(0, self.points.row, of_slices)

    def scale(self) -> Tensor:
        """Standard deviation of each frame's residuals ``(F,)``, from their median."""
        rows = [self.points.row == one for one in range(len(self.points.frames))]
        return torch.cat(
            [
                robust_scale(self.residual[row].reshape(1, -1), self.weights[row].reshape(1, -1))
                for row in rows
            ]
        )

    def similarity(self) -> Tensor:
        """Correlation of each frame with the model, ``(F,)``."""
        weights, m = self.weights, self.points.values
        total = self.of_frames(weights.sum(dim=1)).clamp(min=1e-6)
        mean = self.of_frames((weights * m).sum(dim=1)) / total
        apart = m - mean[self.points.row, None]
        varies = self.of_frames((weights * apart**2).sum(dim=1))
        left = self.of_frames((weights * self.residual**2).sum(dim=1))
        return (1 - left / varies.clamp(min=1e-12)).clamp(0, 1).sqrt()

    def linear(self, steepest: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Jacobian ``(M, 6, P)``, robust weights and residuals ``(M, P)``, as of `equations`."""
        scale = sigma[self.points.row, None]
        r = self.residual / scale
        jacobian = steepest.reshape(6, *r.shape).permute(1, 0, 2) * (-self.gain / scale)[:, None]
        return jacobian, _COUNT * self.weights / (1 + (r / CAUCHY) ** 2), r

    def equations(self, steepest: Tensor, sigma: Tensor, stays: Tensor) -> SliceEquations:
        """Of each slice, and its cost.

        Parameters
        ----------
        steepest
            ``(6, M P)`` change of the template by a motion of the slice, per mm.
        sigma
            ``(F,)`` of residuals.
        stays
            ``(F,)`` bool: whether the frame's pose is believed: its points then belong to the head,
            and to leave it costs, as far as others do not come in.
        """
        jacobian, weights, r = self.linear(steepest, sigma)
        weighted = jacobian * weights[:, None]
        left = (self.points.weights - self.weights).sum(dim=1).clamp(min=0) * stays[self.points.row]
        cost = (self.weights * torch.log1p((r / CAUCHY) ** 2)).sum(dim=1)
        cost = cost + left * math.log1p((_OFF / CAUCHY) ** 2)
        return SliceEquations(
            (weighted @ jacobian.mT).double(),
            (weighted @ r[..., None]).double()[..., 0],
            cost.double() * _COUNT * CAUCHY**2 / 2,
        )

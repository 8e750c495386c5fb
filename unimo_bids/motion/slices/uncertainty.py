"""How far off the poses of slices may be: by their noise, by their frame, by what knots leave out.

Three parts, of which none has a number to choose:

- *Noise*. The banded inverse P of all normal equations, with a voxel as a fixed share of an
  observation. How many observations it is, the slices' own gradients g tell: at the poses found,
  ``gᵀ H⁻¹ g`` of a slice is ``6 - tr(H P)`` if that share is right.
- *Common to a frame*. Distortion, template and intensity model err alike in neighbouring places and
  slices. How far parts of the head disagree about a small motion of a whole frame tells that: a
  jackknife over cubes as wide as the head's radius, whose corners meet in its middle; eight of
  them hold nearly all, hence Student's t of seven degrees of freedom.
- *Between two knots*. There the head need not go straight. If it walks at random, with the bends d
  that it has at both knots, it is off by ``a (1 - a) / 2 · d dᵀ`` at a share a of the way.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unimo_bids.motion.slices.points import Points
from unimo_bids.motion.slices.solving import SliceEquations
from unimo_bids.motion.slices.trajectory import Trajectory
from unimo_bids.registration.least_squares import solve
from unimo_bids.registration.target import cubes
from unimo_bids.registration.uncertainty import jackknife

_NUMBERS = 6  # of a pose
# variance that makes 1.96 standard deviations hold 95 % where eight parts told them: Student's t
_OF_EIGHT = (2.365 / 1.960) ** 2


def noise_scale(own: SliceEquations, covariance: Tensor, good: Tensor) -> float:
    """By how much the noise of slices is more than was taken, as a variance.

    Parameters
    ----------
    own
        Of slices, ``(T, S)`` of them, at the poses found.
    covariance
        ``(T, S, 6, 6)`` P of these poses.
    good
        ``(T,)`` frames that count.
    """
    h, g, p = own.hessian[good], own.rhs[good], covariance[good]
    shown = h.diagonal(dim1=2, dim2=3).amin(dim=2) > 0
    h, g, p = h[shown], g[shown], p[shown]
    if len(h) == 0:
        return 1.0
    free = _NUMBERS - (h @ p).diagonal(dim1=1, dim2=2).sum(dim=1)
    found = (g * solve(h, g)).sum(dim=1)
    return float(found.sum() / free.sum().clamp(min=1.0))


def of_frames(
    points: Points, arms: Tensor, jacobian: Tensor, weights: Tensor, residual: Tensor
) -> Tensor:
    """Covariance ``(F, 6, 6)`` of a small motion of frames, from parts of the head that disagree.

    Parameters
    ----------
    points
        Of M slices, P of each.
    arms
        ``(3, M P)`` from the head's centre, in its radii.
    jacobian, weights, residual
        ``(M, 6, P)``, ``(M, P)``, ``(M, P)``
    """
    # a corner, not the middle of a cube, is at the centre
    of_cube = cubes(arms.mT + 0.5, 1.0).reshape(*weights.shape, -1)
    first, second = torch.triu_indices(_NUMBERS, _NUMBERS)
    weighted = weights[:, None] * jacobian
    # (M, 21 or 6, G)
    squares = (weighted[:, first] * jacobian[:, second]) @ of_cube
    scores = (weighted * residual[:, None]) @ of_cube
    frames, slices = len(points.frames), points.row
    squares, scores = (
        torch.zeros(frames, *part.shape[1:], dtype=torch.float64)
        .index_add_(0, slices, part.double())
        .mT
        for part in (squares, scores)
    )
    hessians = torch.zeros(*scores.shape, _NUMBERS, dtype=torch.float64)
    hessians[..., first, second] = squares
    hessians[..., second, first] = squares
    return _OF_EIGHT * jackknife(hessians, scores)


def between_knots(trajectory: Trajectory, times: Tensor, radius: float) -> Tensor:
    """Covariance ``(…, 6, 6)`` of the way off the straight line at times ``(…)``."""
    bends = trajectory.bends(radius)[0]
    if len(bends) == 0:  # two knots
        return torch.zeros(*times.shape, _NUMBERS, _NUMBERS, dtype=torch.float64)
    squares = bends[:, :, None] * bends[:, None]
    at_knots = torch.cat([squares[:1], squares, squares[-1:]])  # the ends bend as those beside
    before, fraction = trajectory.between(times)
    a = fraction[..., None, None]
    return a * (1 - a) / 2 * (at_knots[before] + at_knots[before + 1]) / 2

"""How far off a pose may be, from how much the parts of a head disagree about it.

What a model leaves unexplained (another contrast, distortion, flow) is as wide as anatomy is, so
that neighbouring points err alike. A covariance that counts points, or voxels, as independent is
thousands of times too small. Here the head is cut into cubes, and each is left out in turn (the
delete-one-block jackknife, Künsch 1989), by one Gauss–Newton step from the pose of all::

    δ_b = (H - H_b)⁻¹ (g - g_b),     C = (G - 1) / G · Σ_b (δ_b - δ̄) (δ_b - δ̄)ᵀ

H and g are Hessian and right-hand side of the normal equations, H_b and g_b what the points of cube
b add to them, δ̄ the mean over the G cubes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.least_squares import solve
from unimo_bids.spatial import rigid

EDGE = 0.5  # of a cube, radii of the head: wider than tissues are, and a head has 50 of them
# of deviations: what all cubes have in common, as a volume's own distortion, no cube can tell.
# On rendered pairs (`python -m benchmarks pairs --rendered`), for 95 in 100 to hold
_WIDER = 1.8
_PART_OF_STEP = 0.08  # from one frame to the next, that is unknown of a frame's own time
_INTERPOLATION = 0.004  # voxels: what cubic splines err by, however much agrees


def cubes(points: Tensor, edge: float) -> Tensor:
    """Which cube each point is in, ``(N, G)`` float32: one 1 in each row, no empty column.

    Parameters
    ----------
    points
        ``(N, 3)`` relative to the head's centre, which is that of a cube.
    edge
        In the unit of the points.

    Examples
    --------
    >>> cubes(torch.tensor([[0.0, 0, 0], [0, 0, 9], [1, 1, 1]]), edge=4.0)
    tensor([[1., 0.],
            [0., 1.],
            [1., 0.]])
    """
    places = torch.round(points / edge).long()
    _, number = torch.unique(places, dim=0, return_inverse=True)
    return torch.nn.functional.one_hot(number).float()


def jackknife(hessians: Tensor, scores: Tensor) -> Tensor:
    """Covariance of a least-squares estimate from blocks of its observations.

    Parameters
    ----------
    hessians
        ``(B, G, 6, 6)`` H_b of each block, ``Σ w J Jᵀ`` over its points.
    scores
        ``(B, G, 6)`` g_b, ``Σ w r J`` with the residual r.

    Returns
    -------
    Tensor
        ``(B, 6, 6)``, in the unit of the parameters.
    """
    many = scores.shape[1]
    without = hessians.sum(dim=1, keepdim=True) - hessians
    rest = scores.sum(dim=1, keepdim=True) - scores
    steps = solve(without.flatten(0, 1), rest.flatten(0, 1)).reshape(scores.shape)
    steps = steps - steps.mean(dim=1, keepdim=True)
    return (many - 1) / many * steps.mT @ steps


def widened(covariance: Tensor, voxel: float) -> Tensor:
    """What blocks tell, and what they cannot: ``(B, 6, 6)``, translations and arcs in mm.

    Parameters
    ----------
    covariance
        ``(B, 6, 6)`` of `jackknife`.
    voxel
        Its widest edge, mm.
    """
    floor = (_INTERPOLATION * voxel) ** 2 * torch.eye(covariance.shape[-1]).to(covariance)
    return _WIDER**2 * covariance + floor


def within_frame(poses: Tensor, good: NDArray[np.bool_], center: Tensor) -> Tensor:
    """Covariance ``(T, 6, 6)`` (rad, mm) of what a head may move while a frame is taken.

    A frame has one pose, its slices have many: which of them it stands for is known to a part of
    the step from the frame before to the frame after. Frames that failed have no say.
    """
    places = np.flatnonzero(good)
    out = torch.zeros(len(poses), 6, 6, dtype=torch.float64)
    for t in range(len(poses)):
        at = int(np.searchsorted(places, t))
        before = places[max(0, at - 1)] if len(places) else t
        after = places[min(len(places) - 1, at + int(t in places))] if len(places) else t
        if after > before:
            rotation, shift = rigid.to_parameters(
                rigid.inverse(poses[before]) @ poses[after], center
            )
            step = torch.cat([rotation, shift]) * _PART_OF_STEP / float(after - before)
            out[t] = step[:, None] * step
    return out

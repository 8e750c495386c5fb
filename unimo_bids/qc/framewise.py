"""How much the head moved from frame to frame.

Poses are ``(T, 4, 4)`` RAS mm, reference → volume; centers are ``(3,)`` mm, the brain's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from unimo_bids.spatial import rigid

Float64 = npt.NDArray[np.float64]

HEAD_RADIUS_MM = 50.0  # Power et al. 2012: from the cortex to the middle of an adult head
SPHERE_RADIUS_MM = 80.0  # Jenkinson 1999


def motion_parameters(poses: Float64, center: Float64) -> Float64:
    """Six numbers per pose, without jumps.

    A turn of 181° about an axis is one of 179° about its opposite; of the two, each frame gets the
    one nearer to the frame before.

    Returns ``(T, 6)``: rotation vector (rad), translation of the centre (mm).
    """
    rotation, translation = (
        part.numpy()
        for part in rigid.to_parameters(
            torch.as_tensor(np.asarray(poses, dtype=np.float64)),
            torch.as_tensor(np.asarray(center, dtype=np.float64)),
        )
    )
    return np.concatenate([unwrapped(rotation), translation], axis=1)


def unwrapped(turn: Float64) -> Float64:
    """Rotation vectors ``(T, 3)`` that do not jump by a whole turn where they pass π."""
    out = turn.copy()
    for t in range(1, len(out)):
        angle = np.linalg.norm(out[t])
        if angle > 0:
            axis = out[t] / angle
            # only along its own axis can a rotation vector grow by a full turn
            turns = np.round((out[t - 1] @ axis - angle) / (2 * np.pi))
            out[t] += turns * 2 * np.pi * axis
    return out


def parameter_covariance(poses: Float64, covariance: Float64) -> Float64:
    """Covariance of `motion_parameters`, ``(T, 6, 6)``.

    An estimate's covariance is that of a small motion δ of the reference before the pose,
    ``T exp(δ)``. To first order it changes the rotation vector ω by ``J⁻¹(ω) δ_ω``, with
    ``J⁻¹(ω) = I + [ω]/2 + (1/θ² - (1 + cos θ)/(2 θ sin θ)) [ω]²`` the inverse right Jacobian of
    SO(3), and moves the centre by ``R δ_v``.
    """
    jacobian = _parameter_jacobian(poses)
    return np.asarray(jacobian @ covariance @ jacobian.transpose(0, 2, 1))


def covariance_of_motion(poses: Float64, deviations: Float64) -> Float64:
    """Invert `parameter_covariance` as far as standard deviations ``(T, 6)`` alone can tell."""
    inverse = np.linalg.inv(_parameter_jacobian(poses))
    return np.asarray(inverse * deviations[:, None] ** 2 @ inverse.transpose(0, 2, 1))


def _parameter_jacobian(poses: Float64) -> Float64:
    """Derivative of `motion_parameters` by a small motion before the pose, ``(T, 6, 6)``."""
    rotation = np.asarray(poses, dtype=np.float64)[:, :3, :3]
    omega = rigid.to_parameters(torch.as_tensor(np.asarray(poses, dtype=np.float64)))[0].numpy()
    theta = np.linalg.norm(omega, axis=1)[:, None, None]
    cross = np.cross(omega[:, None, :], np.eye(3)).transpose(0, 2, 1)
    small = theta < 1e-4
    safe = np.where(small, 1.0, np.minimum(theta, np.pi - 1e-6))
    factor = 1 / safe**2 - (1 + np.cos(safe)) / (2 * safe * np.sin(safe))
    factor = np.where(small, 1 / 12, factor)
    jacobian = np.zeros((len(omega), 6, 6))
    jacobian[:, :3, :3] = np.eye(3) + cross / 2 + factor * (cross @ cross)
    jacobian[:, 3:, 3:] = rotation
    return jacobian


def framewise_displacement(
    poses: Float64, center: Float64, radius: float = HEAD_RADIUS_MM
) -> Float64:
    """Framewise displacement after Power et al. 2012.

    ``FD_t = Σ |Δ translation| + radius · Σ |Δ rotation|``, over the columns of
    `motion_parameters`. For large turns, where rotation vectors do not add up, `rms_displacement`
    is the exact measure.

    Returns
    -------
    ndarray
        ``(T,)`` mm, NaN for the first frame.

    Examples
    --------
    >>> poses = np.tile(np.eye(4), (3, 1, 1))
    >>> poses[1:, 0, 3] = 2
    >>> framewise_displacement(poses, np.zeros(3)).tolist()
    [nan, 2.0, 0.0]
    """
    step = abs(np.diff(motion_parameters(poses, center), axis=0))
    return np.concatenate([[np.nan], step @ np.array([radius] * 3 + [1.0] * 3)])


def rms_displacement(poses: Float64, center: Float64, radius: float = SPHERE_RADIUS_MM) -> Float64:
    """Root mean square displacement of the points of a ball from frame to frame.

    Jenkinson 1999: with ``D_t = T_t - T_{t-1} = [A | b]`` and the ball about the centre c,
    ``rms² = radius²/5 tr(AᵀA) + |A c + b|²``. Exact for any turn.

    Returns ``(T,)`` mm, NaN for the first frame.
    """
    poses = np.asarray(poses, dtype=np.float64)
    return np.concatenate([[np.nan], rms_between(poses[:-1], poses[1:], center, radius)])


def rms_between(one: Float64, other: Float64, center: Float64, radius: float) -> Float64:
    """The same from each pose to another one of the same frame, ``(T,)`` mm."""
    change = other - one
    A, b = change[:, :3, :3], change[:, :3, 3]
    shift = A @ center + b
    squared = radius**2 / 5 * (A**2).sum(axis=(1, 2)) + (shift**2).sum(axis=1)
    return np.asarray(np.sqrt(squared))


def surprise(poses: Float64, predicted: Float64, covariance: Float64, center: Float64) -> Float64:
    """How far poses are from predicted ones, in standard deviations of the prediction, ``(T,)``.

    Root mean square over the six parameters of the small motion between the two; NaN where the
    prediction is exact, as in the reference.
    """
    between = rigid.inverse(torch.as_tensor(predicted)) @ torch.as_tensor(poses)
    about = torch.as_tensor(np.asarray(center, dtype=np.float64))
    step = torch.cat(rigid.to_parameters(between, about), dim=-1).numpy()
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    known = np.where(variance > 0, variance, np.nan)
    return np.asarray(np.sqrt((step**2 / known).mean(axis=1)))

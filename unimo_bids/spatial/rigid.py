"""Rigid motions of space: SE(3) as batches of 4×4 matrices.

A pose ``T`` moves points, ``y = R x + t``. Where six numbers are wanted instead, they are a
rotation vector ω (radians, axis times angle) about a centre c, and a translation v of that centre:
``y = exp([ω]) (x - c) + c + v``. Everything is batched and works in the precision it is given;
poses are kept in float64 throughout the library.
"""

from __future__ import annotations

import roma
import torch
from torch import Tensor


def from_parameters(
    rotation_vector: Tensor, translation: Tensor, center: Tensor | None = None
) -> Tensor:
    """Build poses from six numbers each.

    Parameters
    ----------
    rotation_vector
        ``(..., 3)`` axis times angle, radians.
    translation
        ``(..., 3)`` mm, how far the centre moves.
    center
        ``(..., 3)`` mm, the point the rotation turns about; the origin if not given.

    Returns
    -------
    Tensor
        ``(..., 4, 4)`` poses.

    Examples
    --------
    >>> quarter = torch.tensor([0.0, 0.0, torch.pi / 2])
    >>> pose = from_parameters(quarter, torch.tensor([10.0, 0.0, 0.0]))
    >>> transform(pose, torch.tensor([[1.0, 0.0, 0.0]])).round(decimals=3)
    tensor([[10.,  1.,  0.]])
    """
    rotation = roma.rotvec_to_rotmat(rotation_vector)
    if center is not None:
        translation = translation + center - (rotation @ center[..., None])[..., 0]
    return from_rotation(rotation, translation)


def to_parameters(pose: Tensor, center: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Rotation vector and translation of poses: the inverse of `from_parameters`."""
    translation = pose[..., :3, 3]
    if center is not None:
        translation = transform(pose, center[..., None, :])[..., 0, :] - center
    return roma.rotmat_to_rotvec(pose[..., :3, :3]), translation


def from_rotation(rotation: Tensor, translation: Tensor) -> Tensor:
    """Poses ``(..., 4, 4)`` from rotations ``(..., 3, 3)`` and translations ``(..., 3)``."""
    batch = torch.broadcast_shapes(rotation.shape[:-2], translation.shape[:-1])
    pose = torch.zeros(*batch, 4, 4, dtype=rotation.dtype, device=rotation.device)
    pose[..., :3, :3] = rotation
    pose[..., :3, 3] = translation
    pose[..., 3, 3] = 1
    return pose


def inverse(pose: Tensor) -> Tensor:
    """Inverse of rigid poses, exactly rigid: ``x = Rᵀ y - Rᵀ t``."""
    transposed = pose[..., :3, :3].mT
    return from_rotation(transposed, -(transposed @ pose[..., :3, 3:])[..., 0])


def transform(matrix: Tensor, points: Tensor) -> Tensor:
    """Apply poses or affines ``(..., 4, 4)`` to points ``(..., N, 3)``."""
    return points @ matrix[..., :3, :3].mT + matrix[..., None, :3, 3]


def orthonormalized(pose: Tensor) -> Tensor:
    """The nearest rigid pose: removes the rounding that products of many poses collect."""
    return from_rotation(roma.special_procrustes(pose[..., :3, :3]), pose[..., :3, 3])


def rotation_angle(pose_a: Tensor, pose_b: Tensor) -> Tensor:
    """Geodesic angle between the rotations of two poses, in degrees, ``(...)``."""
    relative = pose_a[..., :3, :3].mT @ pose_b[..., :3, :3]
    return torch.rad2deg(torch.linalg.norm(roma.rotmat_to_rotvec(relative), dim=-1))


def displacement(pose_a: Tensor, pose_b: Tensor, points: Tensor) -> Tensor:
    """How far apart two poses put the same points, in mm, ``(..., N)``."""
    return torch.linalg.norm(transform(pose_a, points) - transform(pose_b, points), dim=-1)


def interpolate(pose_a: Tensor, pose_b: Tensor, fraction: Tensor, center: Tensor) -> Tensor:
    """Pose on the way from a to b: a constant turn, the centre on a straight line.

    Parameters
    ----------
    pose_a, pose_b
        ``(..., 4, 4)``
    fraction
        ``(...)``, 0 gives a, 1 gives b; beyond that the motion goes on.
    center
        ``(3,)`` mm, the point that moves on the straight line.
    """
    rotation_a = pose_a[..., :3, :3]
    turn = roma.rotmat_to_rotvec(rotation_a.mT @ pose_b[..., :3, :3])
    rotation = rotation_a @ roma.rotvec_to_rotmat(turn * fraction[..., None])
    place_a = transform(pose_a, center[None])[..., 0, :]
    place_b = transform(pose_b, center[None])[..., 0, :]
    place = place_a + fraction[..., None] * (place_b - place_a)
    return from_rotation(rotation, place - (rotation @ center[:, None])[..., 0])


def random_rotations(count: int, generator: torch.Generator) -> Tensor:
    """``(count, 3, 3)`` rotations, uniform over SO(3) (Haar), float64."""
    quaternion = torch.randn(count, 4, dtype=torch.float64, generator=generator)
    return roma.unitquat_to_rotmat(torch.nn.functional.normalize(quaternion, dim=-1))

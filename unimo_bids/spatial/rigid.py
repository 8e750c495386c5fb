"""Rigid motions of space: SE(3) as batches of 4×4 matrices.

A pose ``T`` moves points, ``y = R x + t``. Where six numbers are wanted instead, they are a
rotation vector ω (radians, axis times angle) about a centre c, and a translation v of that centre:
``y = exp([ω]) (x - c) + c + v``. Everything is batched and works in the precision it is given;
poses are kept in float64 throughout the library.

Why not `roma`: to import it takes a second of CPU time, as long as all else, for it loads PyTorch's
compiler.
"""

from __future__ import annotations

import torch
from torch import Tensor

# lengths below this are 0 to either precision; dividing by 0 itself would make gradients NaN
_TINY = 1e-30


def rotation_matrix(vector: Tensor) -> Tensor:
    """Rotations ``(..., 3, 3)`` from vectors ``(..., 3)``: ``exp([ω]) = 1 + a [ω] + b [ω]²``.

    With the angle θ, ``a = sin θ / θ`` and ``b = (1 - cos θ) / θ²``.
    """
    angle = vector.square().sum(dim=-1).clamp(min=_TINY).sqrt()[..., None, None]
    cross = cross_matrix(vector)
    a = torch.sinc(angle / torch.pi)
    b = torch.sinc(angle / (2 * torch.pi)).square() / 2
    return torch.eye(3).to(cross) + a * cross + b * (cross @ cross)


def cross_matrix(vector: Tensor) -> Tensor:
    """``[ω]`` with ``[ω] x = ω × x``, ``(..., 3, 3)`` from ``(..., 3)``."""
    x, y, z = vector.unbind(dim=-1)
    zero = torch.zeros_like(x)
    rows = [(zero, -z, y), (z, zero, -x), (-y, x, zero)]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def rotation_vector(matrix: Tensor) -> Tensor:
    """Vectors ``(..., 3)`` from rotations ``(..., 3, 3)``; no longer than π.

    By way of the unit quaternion q. All of ``4 q qᵀ`` is sums of the matrix's entries; each of its
    rows is a multiple of q, and that of the largest diagonal entry has no small differences in it,
    at a half turn neither.
    """
    m = [row.unbind(dim=-1) for row in matrix.unbind(dim=-2)]
    xy, yz, zx = m[0][1] + m[1][0], m[1][2] + m[2][1], m[2][0] + m[0][2]
    xw, yw, zw = m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]
    xx = 1 + m[0][0] - m[1][1] - m[2][2]
    yy = 1 - m[0][0] + m[1][1] - m[2][2]
    zz = 1 - m[0][0] - m[1][1] + m[2][2]
    ww = 1 + m[0][0] + m[1][1] + m[2][2]
    rows = [(xx, xy, zx, xw), (xy, yy, yz, yw), (zx, yz, zz, zw), (xw, yw, zw, ww)]
    products = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    largest = torch.stack([xx, yy, zz, ww], dim=-1).argmax(dim=-1)
    chosen = largest[..., None, None].expand(*largest.shape, 1, 4)
    quaternion = products.gather(-2, chosen)[..., 0, :]
    # q and -q are one rotation: that of the shorter way round
    quaternion = torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)
    axis, w = quaternion[..., :3], quaternion[..., 3:]
    length = axis.square().sum(dim=-1, keepdim=True).clamp(min=_TINY).sqrt()
    return axis * (2 * torch.atan2(length, w) / length)


def quaternion_matrix(quaternion: Tensor) -> Tensor:
    """Rotations ``(..., 3, 3)`` from unit quaternions ``(..., 4)``, the real part last."""
    x, y, z, w = quaternion.unbind(dim=-1)
    rows = [
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def nearest_rotation(matrix: Tensor) -> Tensor:
    """The rotations R that maximise ``tr(Rᵀ M)`` for ``(..., 3, 3)`` (Kabsch, Procrustes)."""
    u, _, vh = torch.linalg.svd(matrix)
    mirrored = torch.linalg.det(u @ vh) < 0
    last = torch.where(mirrored[..., None], -u[..., 2], u[..., 2])
    return torch.cat([u[..., :2], last[..., None]], dim=-1) @ vh


def from_parameters(turn: Tensor, translation: Tensor, center: Tensor | None = None) -> Tensor:
    """Build poses from six numbers each.

    Parameters
    ----------
    turn
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
    rotation = rotation_matrix(turn)
    if center is not None:
        translation = translation + center - (rotation @ center[..., None])[..., 0]
    return from_rotation(rotation, translation)


def to_parameters(pose: Tensor, center: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Rotation vector and translation of poses: the inverse of `from_parameters`."""
    translation = pose[..., :3, 3]
    if center is not None:
        translation = transform(pose, center[..., None, :])[..., 0, :] - center
    return rotation_vector(pose[..., :3, :3]), translation


def from_rotation(rotation: Tensor, translation: Tensor) -> Tensor:
    """Poses ``(..., 4, 4)`` from rotations ``(..., 3, 3)`` and translations ``(..., 3)``."""
    # not `torch.broadcast_shapes`, which loads sympy: half a second
    batch = (rotation[..., 0] + translation).shape[:-1]
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
    return from_rotation(nearest_rotation(pose[..., :3, :3]), pose[..., :3, 3])


def rotation_angle(pose_a: Tensor, pose_b: Tensor) -> Tensor:
    """Geodesic angle between the rotations of two poses, in degrees, ``(...)``."""
    relative = pose_a[..., :3, :3].mT @ pose_b[..., :3, :3]
    return torch.rad2deg(torch.linalg.norm(rotation_vector(relative), dim=-1))


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
    turn = rotation_vector(rotation_a.mT @ pose_b[..., :3, :3])
    rotation = rotation_a @ rotation_matrix(turn * fraction[..., None])
    place_a = transform(pose_a, center[None])[..., 0, :]
    place_b = transform(pose_b, center[None])[..., 0, :]
    place = place_a + fraction[..., None] * (place_b - place_a)
    return from_rotation(rotation, place - (rotation @ center[:, None])[..., 0])


def random_rotations(count: int, generator: torch.Generator) -> Tensor:
    """``(count, 3, 3)`` rotations, uniform over SO(3) (Haar), float64."""
    quaternion = torch.randn(count, 4, dtype=torch.float64, generator=generator)
    return quaternion_matrix(torch.nn.functional.normalize(quaternion, dim=-1))

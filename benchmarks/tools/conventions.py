"""What each program means by a matrix: conversions to poses, reference → volume, RAS mm.

Peers see every series on a *plain* grid, axis-aligned and centred, so that oblique or flipped
headers, which they treat differently, decide nothing. A pose on the plain grid becomes one in the
world by `to_world`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS ↔ LPS, its own inverse


def plain_affine(shape: Sequence[int], affine: Matrix) -> Matrix:
    """Affine ``(4, 4)`` of an axis-aligned RAS grid of the same voxel sizes, centred at 0."""
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    plain = np.diag([*sizes, 1.0])
    plain[:3, 3] = -sizes * (np.asarray(shape[:3]) - 1) / 2
    return plain


def to_world(poses: Matrix, affine: Matrix, plain: Matrix) -> Matrix:
    """Poses ``(T, 4, 4)`` on the plain grid → in the world of ``affine``: ``Q P Q⁻¹``."""
    turn = affine @ np.linalg.inv(plain)
    return turn @ poses @ np.linalg.inv(turn)


def flipped(matrices: Matrix) -> Matrix:
    """RAS ↔ LPS for matrices ``(..., 4, 4)``."""
    return LPS @ matrices @ LPS


def afni_poses(path: Path) -> Matrix:
    """Poses ``(T, 4, 4)`` from ``3dvolreg -1Dmatrix_save``.

    A row holds the upper 3×4 of "the coordinate transformation from base to input DICOM
    coordinates" (its help text), row by row; DICOM is LPS. Base → input is reference → volume.
    """
    rows = np.loadtxt(path, comments="#", ndmin=2)
    matrices = np.tile(np.eye(4), (len(rows), 1, 1))
    matrices[:, :3] = rows.reshape(-1, 3, 4)
    return flipped(matrices)


def fsl_from_voxel(shape: Sequence[int], affine: Matrix) -> Matrix:
    """FSL's coordinates: voxels times their size, x counted from the right.

    Where the affine's determinant is positive ("neurological"), FSL flips the first axis.
    """
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    scaled = np.diag([*sizes, 1.0])
    if np.linalg.det(affine[:3, :3]) > 0:
        scaled[0, 0] = -sizes[0]
        scaled[0, 3] = (shape[0] - 1) * sizes[0]
    return scaled


def fsl_poses(folder: Path, shape: Sequence[int], affine: Matrix) -> Matrix:
    """Poses ``(T, 4, 4)`` from the folder ``*.mat`` of ``mcflirt -mats``.

    ``MAT_0000`` … take a volume to the reference, in FSL's coordinates: the inverse is wanted.
    """
    fsl_to_world = affine @ np.linalg.inv(fsl_from_voxel(shape, affine))
    matrices = np.stack([np.loadtxt(path) for path in sorted(folder.glob("MAT_*"))])
    return fsl_to_world @ np.linalg.inv(matrices) @ np.linalg.inv(fsl_to_world)


def spm_poses(path: Path) -> Matrix:
    """Poses ``(T, 4, 4)`` from rows of 32 numbers: ``V.mat`` before, then after `spm_realign`.

    Realigning changes a volume's voxel → world matrix until it agrees with the reference. A point
    x of the reference lies in voxel ``after⁻¹ x``, which the file's grid puts at
    ``before after⁻¹ x``. Both count voxels from 1, which cancels.
    """
    rows = np.loadtxt(path, ndmin=2)
    before, after = rows.reshape(-1, 2, 4, 4).transpose(1, 0, 2, 3)
    return before @ np.linalg.inv(after)


def itk_matrix(parameters: Sequence[float], center: Sequence[float]) -> Matrix:
    """Matrix ``(4, 4)`` of an ITK transform, fixed → moving, in ITK's own coordinates (LPS).

    ``y = M (x - c) + c + t``: 12 parameters are M row by row and t; 6 are the angles of an
    ``Euler3DTransform``, ``M = Rz Rx Ry``, and t.
    """
    values = np.asarray(parameters, dtype=np.float64)
    matrix = np.eye(4)
    if len(values) == 12:
        matrix[:3, :3] = values[:9].reshape(3, 3)
    elif len(values) == 6:
        (sx, sy, sz), (cx, cy, cz) = np.sin(values[:3]), np.cos(values[:3])
        about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
        about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        matrix[:3, :3] = about_z @ about_x @ about_y
    else:
        raise ValueError(f"an ITK transform of {len(values)} parameters is none we know")
    c = np.asarray(center, dtype=np.float64)
    matrix[:3, 3] = values[-3:] + c - matrix[:3, :3] @ c
    return matrix


def ants_matrix(path: str | Path) -> Matrix:
    """Matrix ``(4, 4)``, fixed → moving, in ITK's coordinates, from ``*GenericAffine.mat``."""
    from scipy.io import loadmat

    content = loadmat(str(path))
    center = content.pop("fixed").ravel()
    (parameters,) = (v for k, v in content.items() if not k.startswith("__"))
    return itk_matrix(parameters.ravel(), center)


def sampled_matrix(transform_point: Callable[[Sequence[float]], Sequence[float]]) -> Matrix:
    """Matrix ``(4, 4)`` of any affine map of points, read off at the origin and three others."""
    origin = np.asarray(transform_point((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    for axis in range(3):
        unit = [0.0, 0.0, 0.0]
        unit[axis] = 1.0
        matrix[:3, axis] = np.asarray(transform_point(unit)) - origin
    matrix[:3, 3] = origin
    return matrix

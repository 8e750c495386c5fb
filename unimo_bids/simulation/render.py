"""Volumes of a moving object, each sampled from the continuous object and never from a volume.

The object's fine grid is blurred once with the in-plane point-spread function and kept as cubic
B-spline coefficients. A voxel at world point ``y`` shows the object's point ``pose⁻¹ y``, because
poses map the object (reference space) to the volume. Thick slices are averaged over several
planes. What is in front of what is settled by soft occupancy: the head's image is premultiplied
by its presence, and the surroundings shine through with one minus the head's occupancy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.simulation.anatomy import Anatomy
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import inside, world_points
from unimo_bids.spatial.interpolation import (
    apply_separable,
    blur_matrix,
    sample_cubic,
    spline_matrix,
)

FWHM = 2 * np.sqrt(2 * np.log(2))  # full width at half maximum of a Gaussian of sigma 1


@dataclass(frozen=True)
class Source:
    """Cubic B-spline coefficients ``(1, C, X, Y, Z)`` of an object, and the affine of its grid."""

    coefficients: Tensor
    affine: Tensor


def blurred(
    images: Sequence[NDArray[np.float32]], affine: NDArray[np.float64], psf_mm: float
) -> Source:
    """Source of ``C`` images ``(X, Y, Z)`` blurred by a Gaussian of ``psf_mm`` FWHM.

    Images should be empty at their borders if the object ends there.
    """
    stack = torch.from_numpy(np.stack(images))
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    matrices = [
        spline_matrix(n, stack) @ blur_matrix(n, round(psf_mm / FWHM / size, 6), stack)
        for n, size in zip(stack.shape[1:], sizes, strict=True)
    ]
    coefficients = torch.stack([apply_separable(image, matrices) for image in stack])
    return Source(coefficients[None], torch.as_tensor(affine, dtype=torch.float64))


def sample(source: Source, points: Tensor, channels: slice = slice(None)) -> Tensor:
    """Values ``(C, N)`` of a source at points ``(N, 3)`` of its own space, 0 beyond its grid."""
    to_index = torch.linalg.inv(source.affine).to(points.dtype)
    indices = rigid.transform(to_index, points)
    shape = source.coefficients.shape[2:]
    coefficients = source.coefficients[:, channels]
    values = torch.zeros(coefficients.shape[1], len(points))
    within = torch.nonzero(inside(indices, shape))[:, 0]
    if len(within):
        values[:, within] = sample_cubic(coefficients, indices[within][None])[0]
    return values


@dataclass(frozen=True)
class Grid:
    """The scanner's voxels.

    Parameters
    ----------
    shape
        ``(X, Y, Z)``; slices lie along the last axis.
    affine
        ``(4, 4)`` indices → RAS mm; may be oblique, flipped, anisotropic.
    psf_mm
        In-plane resolution, FWHM; the mean in-plane voxel size is natural.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    psf_mm: float

    def planes(self) -> list[float]:
        """Where a slice is sampled, in slices from its middle: a box, as thick as the slice."""
        thickness = float(np.linalg.norm(self.affine[:3, 2]))
        # the Gaussian alone is enough profile for slices up to a quarter thicker than it is wide
        count = 1 if thickness <= 1.25 * self.psf_mm else int(np.ceil(thickness / self.psf_mm)) + 1
        return [(k + 0.5) / count - 0.5 for k in range(count)]

    def points(self, plane: float = 0.0) -> Tensor:
        """World points of the voxels, ``(X·Y·Z, 3)`` float32 RAS mm, ``plane`` slices off."""
        affine = torch.as_tensor(self.affine, dtype=torch.float64)
        shifted = affine.clone()
        shifted[:3, 3] += plane * affine[:3, 2]
        return world_points(self.shape, shifted).float()


def default_psf(affine: NDArray[np.float64]) -> float:
    """Mean in-plane voxel size, mm."""
    return float(np.linalg.norm(affine[:3, :2], axis=0).mean())


def object_points(points: Tensor, poses: NDArray[np.float64]) -> Tensor:
    """World points → points of the moved object.

    Parameters
    ----------
    points
        ``(X·Y·Z, 3)``
    poses
        ``(4, 4)`` of the volume, or ``(Z, 4, 4)`` of its slices.
    """
    back = rigid.inverse(torch.as_tensor(poses, dtype=torch.float64)).to(points.dtype)
    if back.ndim == 2:
        return rigid.transform(back, points)
    by_slice = points.reshape(-1, len(back), 3).transpose(0, 1)
    return rigid.transform(back, by_slice).transpose(0, 1).reshape(-1, 3)


def object_source(anatomy: Anatomy, psf_mm: float) -> Source:
    """Source of intensity (premultiplied by presence), brain fraction and presence."""
    presence = anatomy.presence()
    images = [anatomy.image() * presence, anatomy.brain_fraction(), presence]
    return blurred(images, anatomy.affine, psf_mm)


def in_contrast(
    source: Source, anatomy: Anatomy, psf_mm: float, contrast: NDArray[np.float32]
) -> Source:
    """Swap the intensities of an `object_source`; presence and brain are kept."""
    image = blurred([anatomy.image(contrast) * anatomy.presence()], anatomy.affine, psf_mm)
    rest = source.coefficients[:, 1:]
    return Source(torch.cat([image.coefficients, rest], dim=1), source.affine)


def render(
    anatomy: Anatomy,
    pose: NDArray[np.float64],
    shape: Sequence[int],
    affine: NDArray[np.float64],
    psf_mm: float | None = None,
) -> NDArray[np.float32]:
    """One volume of an object alone, without any artefact.

    `pose`: ``(4, 4)`` RAS mm: the object's point ``x`` appears at ``pose @ x``.

    Returns ``(X, Y, Z)`` float32.
    """
    psf_mm = default_psf(affine) if psf_mm is None else psf_mm
    grid = Grid((shape[0], shape[1], shape[2]), np.asarray(affine, dtype=np.float64), psf_mm)
    image = anatomy.image() * anatomy.presence()
    source = blurred([image], anatomy.affine, psf_mm)
    planes = grid.planes()
    total = torch.zeros(int(np.prod(shape)))
    for plane in planes:
        total += sample(source, object_points(grid.points(plane), pose))[0]
    return (total / len(planes)).reshape(*shape).numpy()

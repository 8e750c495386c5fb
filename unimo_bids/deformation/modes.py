"""Vector fields of few waves in a periodic box, and their values on any grid.

A field is given by its values ``(..., 3, M, M, M)``, RAS mm, on the box's own M³ voxels (M odd: a
wave of half the sampling rate would have no phase). Between these it is their Fourier series, so
that slopes are exact. Products of two fields are taken on P ≥ 3M/2 samples an axis, where none of
their waves is mistaken for another; what the box cannot hold of a product is cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from torch import Tensor

from unimo_bids.spatial.grid import Grid, index_map
from unimo_bids.spatial.interpolation import apply_separable
from unimo_bids.spatial.rigid import transform

_POINTS_AT_ONCE = 4096  # bounds the working memory


@dataclass(frozen=True, eq=False)
class Modes:
    """The waves of a periodic box.

    Attributes
    ----------
    box
        Grid of M samples an axis, M odd; its far side is its near one again.
    """

    box: Grid

    def __post_init__(self) -> None:
        if any(n % 2 == 0 for n in self.box.shape):
            raise ValueError(f"a box of {self.box.shape} samples: an odd number an axis is needed")

    @cached_property
    def waves(self) -> Tensor:
        """Wave vectors κ ``(3, M, M, (M + 1) / 2)``, rad/mm, in the order of `torch.fft.rfftn`."""
        nx, ny, nz = self.box.shape
        exact = torch.float64
        axes = [torch.fft.fftfreq(n, dtype=exact) for n in (nx, ny)]
        axes.append(torch.fft.rfftfreq(nz, dtype=exact))
        turns = torch.stack(torch.meshgrid(*axes, indexing="ij"))
        return torch.einsum("ai,axyz->ixyz", 2 * torch.pi * self.box.to_index[:3, :3], turns)

    def spectrum(self, values: Tensor) -> Tensor:
        """Amplitudes ``(..., M, M, (M + 1) / 2)`` of values ``(..., M, M, M)``."""
        return cast(Tensor, torch.fft.rfftn(values, dim=(-3, -2, -1), norm="forward"))

    def values(self, spectrum: Tensor) -> Tensor:
        """Values on the box's samples."""
        return _inverse(spectrum, self.box.shape)

    def wide(self, spectrum: Tensor) -> Tensor:
        """Values ``(..., P, P, P)`` on samples that are close enough for products of two fields."""
        shape = [3 * n // 2 + 1 for n in self.box.shape]
        for axis, wanted in zip((-3, -2), shape[:2], strict=True):
            n = spectrum.shape[axis]
            gap = list(spectrum.shape)
            gap[axis] = wanted - n
            front, back = spectrum.split([(n + 1) // 2, n // 2], dim=axis)
            spectrum = torch.cat([front, spectrum.new_zeros(gap), back], dim=axis)
        return _inverse(spectrum, shape)

    def narrow(self, values: Tensor) -> Tensor:
        """Amplitudes of values ``(..., P, P, P)``, without waves that the box does not hold."""
        spectrum = self.spectrum(values)
        for axis, n in zip((-3, -2), self.box.shape[:2], strict=True):
            far = spectrum.shape[axis] - n // 2
            front, back = spectrum.narrow(axis, 0, (n + 1) // 2), spectrum.narrow(axis, far, n // 2)
            spectrum = torch.cat([front, back], dim=axis)
        return spectrum[..., : self.box.shape[2] // 2 + 1]

    def slopes(self, spectrum: Tensor) -> Tensor:
        """Amplitudes of ``∂/∂xⱼ`` of ``(..., M, M, ·)``, per mm: ``(..., 3, M, M, ·)``."""
        waves = self.waves.to(spectrum.device, spectrum.real.dtype)
        return spectrum[..., None, :, :, :] * (1j * waves)

    def on(self, values: Tensor, grid: Grid) -> Tensor:
        """Fields ``(..., M, M, M)`` at the voxels of a grid, ``(..., X, Y, Z)``."""
        kernels = self._kernels(grid, values)
        if kernels is None:
            return self.at(values, grid.points(values.device)).reshape(
                *values.shape[:-3], *grid.shape
            )
        flat = apply_separable(values.reshape(-1, *values.shape[-3:]), kernels)
        return flat.reshape(*values.shape[:-3], *grid.shape)

    def gathered(self, fields: Tensor, grid: Grid) -> Tensor:
        """The adjoint of `on`, of fields ``(..., X, Y, Z)`` on a grid whose axes are the box's."""
        kernels = self._kernels(grid, fields)
        if kernels is None:
            raise ValueError("the axes of the grid are not those of the box")
        flat = apply_separable(fields.reshape(-1, *grid.shape), [k.mT for k in kernels])
        return flat.reshape(*fields.shape[:-3], *self.box.shape)

    def _kernels(self, grid: Grid, like: Tensor) -> list[Tensor] | None:
        """What every sample has in every voxel, an axis each; None if axes are not the same."""
        to_box = index_map(self.box.affine, torch.eye(4, dtype=torch.float64), grid.affine)
        steps = to_box[:3, :3]
        if not torch.allclose(steps, torch.diag(steps.diagonal()), atol=1e-9):
            return None
        kernels = []
        for axis, (n, many) in enumerate(zip(grid.shape, self.box.shape, strict=True)):
            index = to_box[axis, 3] + steps[axis, axis] * torch.arange(n, dtype=torch.float64)
            kernels.append(_kernel(index, many).to(like))
        return kernels

    def at(self, values: Tensor, points: Tensor) -> Tensor:
        """Fields ``(..., M, M, M)`` at points ``(N, 3)`` RAS mm, ``(..., N)``."""
        found = []
        for some in points.split(_POINTS_AT_ONCE):
            indices = transform(self.box.to_index.to(some.device), some.double())
            x, y, z = (
                _kernel(indices[:, axis], n).to(values) for axis, n in enumerate(self.box.shape)
            )
            planes = torch.einsum("...xyz,nz->...nxy", values, z)
            found.append(torch.einsum("...nxy,nx,ny->...n", planes, x, y))
        return torch.cat(found, dim=-1)


def box_around(grid: Grid, samples: int = 15, margin: float = 0.25) -> Modes:
    """A box about a grid, with a margin on either side, in extents of the grid.

    What leaves the box on one side comes in on the other: the margin keeps that from the image.
    """
    shape = torch.tensor(grid.shape, dtype=torch.float64)
    extent = shape * (1 + 2 * margin)
    coarser = torch.diag(torch.cat([extent / samples, torch.ones(1, dtype=torch.float64)]))
    # the box begins half of one of its voxels before its first sample, as all grids do
    coarser[:3, 3] = (shape - 1) / 2 - (extent / samples) * (samples - 1) / 2
    return Modes(Grid((samples, samples, samples), grid.affine @ coarser))


def _inverse(spectrum: Tensor, shape: Sequence[int]) -> Tensor:
    return cast(Tensor, torch.fft.irfftn(spectrum, s=list(shape), dim=(-3, -2, -1), norm="forward"))


def _kernel(index: Tensor, n: int) -> Tensor:
    """What each of n periodic samples has in the value at indices ``(N,)``: ``(N, n)``.

    ``(1 + 2 Σₖ cos(2π k x / n)) / n`` at a distance of x samples (Dirichlet).
    """
    apart = index[:, None] - torch.arange(n).to(index)
    waves = torch.arange(1, n // 2 + 1).to(index)
    phase = 2 * torch.pi / n * apart[..., None] * waves
    return (1 + 2 * torch.cos(phase).sum(dim=-1)) / n

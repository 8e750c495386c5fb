"""Resolutions at which frames are compared: blurred, coarser, or full with cubic splines.

A level turns a raw frame into the image that registration samples. Blur, coarser grid and B-spline
prefilter are separable, so each level is one matrix per axis, whatever it does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.interpolation import (
    apply_separable,
    blur_matrix,
    gradient,
    pick_matrix,
    sample_cubic,
    sample_linear,
    spline_matrix,
)


@dataclass(frozen=True)
class Level:
    """One resolution of frames on a given voxel grid.

    Attributes
    ----------
    matrices
        One per axis, ``(n_out, n)``: blur and coarser grid in one.
    grid
        Its voxels.
    margin
        ``(3,)`` voxels at the border that the blur has mixed with mirrored data.
    cubic
        Sample with cubic splines instead of linearly.
    """

    matrices: tuple[Tensor, Tensor, Tensor]
    grid: Grid
    margin: Tensor
    blur: float
    cubic: bool

    def image(self, frames: Tensor) -> Tensor:
        """Frames ``(..., X, Y, Z)`` at this level, ``(..., X', Y', Z')``."""
        return apply_separable(frames, self.matrices)

    def sampled(self, frames: Tensor) -> Tensor:
        """What `sample` reads of raw frames: the images, or their spline coefficients."""
        if not self.cubic:
            return self.image(frames)
        pairs = zip(self.grid.shape, self.matrices, strict=True)
        return apply_separable(frames, [spline_matrix(n, m) @ m for n, m in pairs])

    def sample(self, sampled: Tensor, indices: Tensor) -> Tensor:
        """Values ``(B, C, N)`` of ``(B, C, X', Y', Z')`` at indices ``(B, N, 3)``."""
        return sample_cubic(sampled, indices) if self.cubic else sample_linear(sampled, indices)

    def validity(self, indices: Tensor) -> Tensor:
        """Weight ``(..., N)`` in 0 … 1: how far inside the field of view an index lies.

        It rises from 0 at the outermost voxel centre to 1 at the margin, so that the cost has no
        step where a point crosses the border.
        """
        size = torch.tensor(self.grid.shape, dtype=indices.dtype, device=indices.device)
        depth = torch.minimum(indices, size - 1 - indices)
        # a few slices have no inside: the outer half of their voxels counts as well
        depth = torch.where(size > 3, depth, depth + 0.5)
        margin = self.margin.to(indices)
        return (depth / margin).clamp(0, 1).amin(dim=-1)


def make_level(
    grid: Grid,
    *,
    blur: float,
    spacing: float = 0.0,
    cubic: bool = False,
    device: torch.device | str = "cpu",
) -> Level:
    """Describe a level of a voxel grid.

    Parameters
    ----------
    grid
        Of the raw frames.
    blur
        Standard deviation of the Gaussian, mm.
    spacing
        Distance between the level's samples, mm; never finer than the voxels.
    cubic
        Sample with cubic splines.
    """
    sizes = grid.sizes
    like = torch.zeros((), dtype=torch.float32, device=device)
    matrices, steps, firsts, counts = [], [], [], []
    for n, size in zip(grid.shape, sizes.tolist(), strict=True):
        step = max(1.0, spacing / size)
        count = int((n - 1) / step + 1e-6) + 1
        first = ((n - 1) - step * (count - 1)) / 2
        # a voxel already blurs along its own edge: even out thick slices, so that the resolution
        # turns with the head (a voxel's response is about a Gaussian with FWHM of its size)
        extra = (0.18 * (float(sizes.max()) ** 2 - size**2) + blur**2) ** 0.5
        blurred = blur_matrix(n, extra / size, like.double())
        picked = pick_matrix(n, count, first, step, like.double())
        matrices.append((picked @ blurred).to(like))
        steps.append(step)
        firsts.append(first)
        counts.append(count)
    coarser = torch.diag(torch.tensor([*steps, 1.0], dtype=torch.float64))
    coarser[:3, 3] = torch.tensor(firsts, dtype=torch.float64)
    own = Grid((counts[0], counts[1], counts[2]), grid.affine @ coarser)
    count_tensor = torch.tensor(counts, dtype=torch.float64)
    # two blur widths hold 95 % of the kernel; thin slabs keep at least half their depth
    margin = (2 * blur / own.sizes).clamp(min=1.0)
    margin = torch.minimum(margin, ((count_tensor - 1) / 4).clamp(min=0.5))
    return Level(
        matrices=(matrices[0], matrices[1], matrices[2]),
        grid=own,
        margin=margin,
        blur=blur,
        cubic=cubic,
    )


def gradient_magnitude(images: Tensor, level: Level) -> Tensor:
    """Edge strength of images at a level: the same in any contrast, up to its sign."""
    return torch.linalg.norm(gradient(images, level.grid.affine), dim=-1)

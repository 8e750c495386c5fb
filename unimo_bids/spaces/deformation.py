"""What an affine leaves of two heads' difference: a gentle deformation, where it proves itself.

The template is bent by a velocity of few waves, to what correlates best with the run around each
place (`deformation.matching`). Whether that holds is asked of places that had no part in it: fitted
to every other block of a checkerboard, it has to make the blocks between more alike. Only then is
it fitted to all of the brain, and taken if no place is squeezed or stretched beyond bounds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unimo_bids.brain.head import ADULT_RADIUS
from unimo_bids.deformation.lddmm import Metric
from unimo_bids.deformation.matching import carried, local_correlation, register
from unimo_bids.deformation.modes import Modes, box_around
from unimo_bids.deformation.shape import jacobian_determinant
from unimo_bids.deformation.velocity import exponential
from unimo_bids.registration.sides import Side
from unimo_bids.spaces.affine import cut_out
from unimo_bids.spaces.thresholds import BENDING
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.interpolation import gaussian_blur
from unimo_bids.spatial.resampling import resample
from unimo_bids.spatial.warp import Affine, Field

_SPACING, _BLUR = 5.0, 2.0  # mm for an adult head
_MARGIN = 5  # voxels around both brains, over which displacements fade to none
_SAMPLES, _WINDOW, _ITERATIONS = 15, 2.0, 4
_SQUARINGS = 5  # steps of a 32nd: of 10 mm, less than a tenth of a voxel
_BLOCK = 32.0  # mm for an adult head: twice the width of the neighbourhood that correlates


@dataclass(frozen=True, eq=False)
class Deformation:
    """How a template's brain is bent before the affine, or why it is not.

    Attributes
    ----------
    field
        Template → template; None if it was not taken.
    gain, error
        Of the local correlation, squared, in blocks that had no part in the fit: mean and its
        standard error.
    volumes
        Least and greatest of what was a unit; None if it did not come to that.
    overlap
        Dice of the masks as they are carried in the end.
    reason
        Why it was not taken; empty if it was.
    """

    field: Field | None
    gain: float
    error: float
    volumes: tuple[float, float] | None = None
    overlap: float = np.nan
    reason: str = ""

    def facts(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "Taken": self.field is not None,
            **({"Reason": self.reason} if self.reason else {}),
            "HeldOutGain": round(self.gain, 4),
            "HeldOutGainError": round(self.error, 4),
            "JacobianDeterminant": [round(v, 3) for v in self.volumes] if self.volumes else None,
            "JacobianBounds": [BENDING.squeezed, BENDING.stretched],
        }


@dataclass(frozen=True, eq=False)
class _Pair:
    """Both heads on one grid in the template's space, as the affine lays them."""

    template: Tensor
    run: Tensor
    both: Tensor
    grid: Grid
    modes: Modes
    scale: float

    def fitted(self, weights: Tensor) -> Tensor:
        """Displacements ``(3, X, Y, Z)`` mm from what is seen with weights."""
        velocity = register(
            self.template,
            self.run,
            self.grid,
            self.modes,
            weights=self.both * weights,
            metric=Metric(Metric.length * self.scale),
            stiffness=BENDING.stiffness / self.scale**2,
            window=_WINDOW,
            iterations=_ITERATIONS,
        )
        faded = _fading(self.grid) * self.modes.on(velocity, self.grid)
        return exponential(faded, self.grid, squarings=_SQUARINGS)

    def alike(self, displacement: Tensor) -> Tensor:
        """How they correlate around each voxel, ``(X, Y, Z)``."""
        return local_correlation(self.template, carried(self.run, displacement, self.grid), _WINDOW)


def find_deformation(template: Side, run: Side, matrix: Tensor) -> Deformation:
    """Find what bends a template's head ``x → u(x)`` so that ``matrix @ u(x)`` is the run's."""
    pair = _pair(template, run, matrix)
    blocks = _blocks(pair.grid, _BLOCK * pair.scale)
    fitted = (blocks.sum(dim=0) % 2 == 0).float()
    gain, error = _held_out(pair, pair.fitted(fitted), blocks, 1 - fitted)
    if not gain > max(BENDING.gain, BENDING.sure * error):
        return Deformation(
            None, gain, error, reason="too little is gained where nothing was fitted"
        )
    field = Field(pair.grid, pair.fitted(torch.ones_like(fitted)))
    volume = jacobian_determinant(field)
    least, most = float(volume.min()), float(volume.max())
    found = Deformation(field, gain, error, (least, most))
    if least < BENDING.squeezed or most > BENDING.stretched:
        return replace(found, field=None, reason="space would be squeezed or stretched too far")
    return found


def _pair(template: Side, run: Side, matrix: Tensor) -> _Pair:
    scale = template.head.radius / ADULT_RADIUS
    grid = _grid(template, run, matrix, _SPACING * scale)
    images = []
    for side, warp in ((template, torch.eye(4, dtype=torch.float64)), (run, matrix)):
        level = side.level(_BLUR * scale)
        image = level.image(cut_out(side)).cpu()
        images.append(resample(image, level.grid, Affine(warp), onto=grid, interpolation="linear"))
    (fixed, here), (moving, there) = images
    modes = box_around(grid, samples=_SAMPLES)
    return _Pair(fixed, moving, (here * there).clamp(0, 1), grid, modes, scale)


def _grid(template: Side, run: Side, matrix: Tensor, size: float) -> Grid:
    """Cubes along the template's axes around both brains, and the margin."""
    axes = rigid.nearest_rotation(template.grid.affine[:3, :3] / template.grid.sizes)
    back = rigid.from_rotation(axes, torch.zeros(3, dtype=torch.float64)).mT
    ends = []
    for side, onto in ((template, back), (run, back @ torch.linalg.inv(matrix))):
        assert side.mask is not None
        voxels = (side.mask > 0.5).nonzero().double().cpu()
        ends.append(rigid.transform(onto @ side.grid.affine, voxels))
    return cubes_around(torch.cat(ends), size, _MARGIN * size, axes)


def cubes_around(places: Tensor, size: float, margin: float, axes: Tensor) -> Grid:
    """Cubes of a size around places ``(N, 3)``, mm along axes, the columns of ``(3, 3)``."""
    low, high = places.amin(dim=0) - margin, places.amax(dim=0) + margin
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, :3], affine[:3, 3] = size * axes, axes @ low
    x, y, z = ((high - low) / size).ceil().int().add(1).tolist()
    return Grid((x, y, z), affine)


def _fading(grid: Grid) -> Tensor:
    """1 but for the margin, where it falls to 0: ITK, too, has no displacement beyond a field."""
    parts = []
    for n in grid.shape:
        index = torch.arange(n, dtype=torch.float32)
        depth = torch.minimum(index, n - 1 - index) / _MARGIN
        parts.append((1 - torch.cos(torch.pi * depth.clamp(0, 1))) / 2)
    x, y, z = parts
    return x[:, None, None] * y[:, None] * z


def _blocks(grid: Grid, edge: float) -> Tensor:
    """Which block of a checkerboard each voxel lies in, ``(3, X, Y, Z)``."""
    per_block = edge / float(grid.sizes[0])
    axes = [torch.arange(n).div(per_block).floor().long() for n in grid.shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def _held_out(
    pair: _Pair, displacement: Tensor, blocks: Tensor, weights: Tensor
) -> tuple[float, float]:
    """What is gained in the middle of blocks that were not fitted: mean, and its standard error."""
    # less than a third of such a neighbourhood was fitted
    weights = weights * (gaussian_blur(weights, [_WINDOW] * 3) > 2 / 3) * pair.both
    gained = weights * (pair.alike(displacement) - pair.alike(torch.zeros_like(displacement)))
    many = blocks.flatten(1).amax(dim=1) + 1
    number = ((blocks[0] * many[1] + blocks[1]) * many[2] + blocks[2]).flatten()
    share, sums = (
        torch.zeros(int(many.prod())).index_add(0, number, part.flatten())
        for part in (weights, gained)
    )
    seen = share > 0.1 * share.max()
    share, sums = share[seen], sums[seen]
    gain = float(sums.sum() / share.sum())
    # of a ratio of sums over blocks
    error = float((sums - gain * share).square().sum().sqrt() / share.sum())
    return gain, error

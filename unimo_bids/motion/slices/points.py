"""Voxels of a series that are compared with the template, slice by slice, and what is read there.

All slices have as many points: sums over a slice's points are then products of small matrices, for
the slices of several frames at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid, inside, voxel_centers
from unimo_bids.spatial.interpolation import (
    gaussian_blur,
    gradient,
    sample_cubic,
    sample_linear,
    spline_coefficients,
)
from unimo_bids.spatial.region import Region

_REACH = 1.6  # radii of the head, from its centre: no head is longer
_LEAST_WEIGHT = 0.05  # of the head's, from which a voxel may show it
_FEWEST = 100  # points: a frame that shows less of the head says nothing
_STALE = 0.15  # voxels, by which a point may move before slopes are read anew


@dataclass(frozen=True, eq=False)
class Model:
    """The template at one blur.

    Attributes
    ----------
    head
        Of the template.
    widths
        Of the blur, voxels along each axis.
    coefficients
        ``(1, 1, X, Y, Z)`` cubic spline of the image.
    slopes
        ``(1, 3, X, Y, Z)`` its gradient per mm.
    worth
        ``(X, Y, Z)`` how much a point there tells; 0 beside the head.
    """

    head: Region
    widths: Sequence[float]
    coefficients: Tensor
    slopes: Tensor
    worth: Tensor

    @classmethod
    def of(cls, template: Tensor, head: Region, widths: Sequence[float]) -> Model:
        """Of a template ``(X, Y, Z)`` blurred by so many voxels along each axis."""
        smooth = gaussian_blur(template, widths)
        slopes = gradient(smooth, head.grid.affine).permute(3, 0, 1, 2)
        worth = head.weights * slopes.square().sum(dim=0).sqrt()
        return cls(
            head,
            widths,
            spline_coefficients(smooth)[None, None],
            slopes[None],
            worth * (head.weights > _LEAST_WEIGHT),
        )

    @property
    def grid(self) -> Grid:
        """Of the template."""
        return self.head.grid

    def nearest_worth(self, at: Tensor) -> Tensor:
        """How much points at indices ``(3, N)`` tell, ``(N,)``."""
        x, y, z = at.round()
        nx, ny, nz = self.worth.shape
        within = (x >= 0) & (x < nx) & (y >= 0) & (y < ny) & (z >= 0) & (z < nz)
        flat = torch.where(within, (x * ny + y) * nz + z, 0).long()
        return self.worth.reshape(-1)[flat] * within

    def values(self, at: Tensor) -> Tensor:
        """The template at indices ``(3, N)``."""
        return sample_cubic(self.coefficients, at.mT[None])[0, 0]

    def weights(self, at: Tensor) -> Tensor:
        """Of the head at indices ``(3, N)``; nothing weighs beyond the grid."""
        read = sample_linear(self.head.weights[None, None], at.mT[None])[0, 0]
        return read * inside(at.mT, self.grid.shape)

    def steepest(self, at: Tensor) -> Tensor:
        """Change of the template at indices ``(3, N)`` by a motion of the slice, per mm."""
        slopes = sample_linear(self.slopes, at.mT[None])[0]
        return torch.cat([torch.linalg.cross(self.arms(at), slopes, dim=0), slopes])

    def arms(self, at: Tensor) -> Tensor:
        """From the head's centre to indices ``(3, N)``, in its radii."""
        to_place = self.grid.affine[:3]
        origin = (to_place[:, 3] - self.head.center).float()[:, None]
        return (to_place[:, :3].float() @ at + origin) / self.head.radius


@dataclass(eq=False)
class Points:
    """Points of M slices, P of each.

    Attributes
    ----------
    frames
        ``(F,)`` their numbers in the series.
    row, slice_of
        ``(M,)`` of each slice: the place of its frame among `frames`, its number in the frame.
    index
        ``(M, 3, P)`` float32 from `origin`.
    origin
        ``(M, 3)`` float64, the index of the head's middle in the frame.
    values
        ``(M, P)`` of the frame.
    seen
        ``(M, P)`` how far each shows what is there, 0 … 1; 0 where a slice has fewer points.
    weights
        ``(M, P)`` of the head where the points were chosen, as far as they are seen.
    last
        Where slopes were read last, and these: they hardly change while points hardly move.
    """

    frames: Tensor
    row: Tensor
    slice_of: Tensor
    index: Tensor
    origin: Tensor
    values: Tensor
    seen: Tensor
    weights: Tensor
    last: tuple[Tensor, Tensor] | None = None

    @property
    def frame(self) -> Tensor:
        """Number in the series of each slice's frame ``(M,)``."""
        return self.frames[self.row]

    def carried(self, poses: Tensor, grid: Grid, model: Model) -> Tensor:
        """Where they are in the template by poses ``(M, 4, 4)``: indices ``(3, M P)``."""
        back = model.grid.to_index @ rigid.inverse(poses) @ grid.affine
        shift = (back[:, :3, :3] @ self.origin[..., None])[..., 0] + back[:, :3, 3]
        at = torch.baddbmm(shift[..., None].float(), back[:, :3, :3].float(), self.index)
        return at.permute(1, 0, 2).reshape(3, -1)

    def steepest(self, at: Tensor, model: Model) -> Tensor:
        """Change of the template at indices ``(3, M P)`` by a motion of the slice, or close by."""
        if self.last is None or float((at - self.last[0]).abs().max()) > _STALE:
            self.last = at, model.steepest(at)
        return self.last[1]


def choose(
    images: Tensor,
    frames: Tensor,
    poses: Tensor,
    grid: Grid,
    axis: int,
    model: Model,
    many: int,
    lost: Tensor | None = None,
) -> Points | None:
    """In each slice the points that tell most of the head; None where no frame shows it.

    Parameters
    ----------
    images
        ``(F, X, Y, Z)`` frames.
    frames
        ``(F,)`` their numbers in the series.
    poses
        ``(F, S, 4, 4)`` of their slices.
    grid, axis
        Of the frames and their slices.
    many
        Points of a slice at most.
    lost
        ``(F, X, Y, Z)`` how far places of the frames have no signal, 0 … 1; None where all have.
    """
    center = rigid.transform(grid.to_index @ poses, model.head.center[None])[:, :, 0]
    reach = _REACH * model.head.radius / grid.sizes
    last = torch.tensor(grid.shape) - 1
    low = (center.amin(dim=(0, 1)) - reach).floor().long().clamp(min=0).minimum(last)
    high = (center.amax(dim=(0, 1)) + reach).ceil().long().clamp(min=0).minimum(last)
    x, y, z = (slice(a, b + 1) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    images = gaussian_blur(images[:, x, y, z], model.widths)
    plane = (high - low + 1).tolist()
    slices = torch.arange(int(low[axis]), int(high[axis]) + 1)
    plane[axis] = 1
    voxels = (voxel_centers(plane) + low).mT
    voxels[axis] = 0
    most = min(many, voxels.shape[1])
    # a frame at a time: all voxels of several take much memory
    worths = (_worth(voxels, slices, own[slices], grid, axis, model) for own in poses)
    there = None if lost is None else 1 - lost[:, x, y, z]
    if there is not None:
        of_slices = there.movedim(axis + 1, 1).flatten(2)
        worths = (worth * seen for worth, seen in zip(worths, of_slices, strict=True))
    best = [worth.topk(most) for worth in worths]
    worth, kept = (torch.cat(part) for part in zip(*best, strict=True))
    row, slice_of = torch.cartesian_prod(torch.arange(len(frames)), slices).T
    origin, poses = center.mean(dim=1)[row], poses[row, slice_of]
    count = torch.zeros(len(frames), dtype=torch.long)
    count.index_add_(0, row, (worth > 0).sum(dim=1))
    shown = torch.nonzero((worth[:, 0] > 0) & (count[row] >= _FEWEST))[:, 0]
    if len(shown) == 0:
        return None
    present, among = row[shown].unique(return_inverse=True)
    index = voxels[:, kept[shown]].transpose(0, 1).contiguous()
    index[:, axis] = slice_of[shown, None].double()
    i, j, k = (index - low[:, None]).long().unbind(dim=1)
    seen = (worth[shown] > 0).float()
    if there is not None:
        seen = seen * there[row[shown, None], i, j, k]
    points = Points(
        frames[present],
        among,
        slice_of[shown],
        (index - origin[shown, :, None]).float(),
        origin[shown],
        images[row[shown, None], i, j, k],
        seen,
        seen,
    )
    weights = model.weights(points.carried(poses[shown], grid, model))
    points.weights = weights.reshape(seen.shape) * seen
    points.seen = seen * (points.weights > 0)
    return points


def _worth(
    voxels: Tensor, slices: Tensor, poses: Tensor, grid: Grid, axis: int, model: Model
) -> Tensor:
    """How much voxels ``(3, Q)`` of a plane tell in each of M slices, ``(M, Q)``."""
    back = model.grid.to_index @ rigid.inverse(poses) @ grid.affine
    shift = back[:, :3, 3] + slices[:, None] * back[:, :3, axis]
    every = voxels.float().expand(len(slices), -1, -1)
    at = torch.baddbmm(shift[..., None].float(), back[:, :3, :3].float(), every)
    return model.nearest_worth(at.permute(1, 0, 2).reshape(3, -1)).reshape(len(slices), -1)

"""A volume of a pair: what moves in it, where that is, and what it looks like without its coil."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.brain.head import ADULT_RADIUS, NoImageError, find_head
from unimo_bids.registration.levels import Level, make_level
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.interpolation import gaussian_blur
from unimo_bids.spatial.region import Region

_LARGEST = 1.5 * ADULT_RADIUS  # of any head: what is larger is a body
REACH = 2.2  # radii around a head that anything is looked at
_EVEN = 0.25  # radii, over which the coils' sensitivity may vary
_DARKEST, _BRIGHTEST = 0.05, 4.0  # of the average, so that nothing outside the head takes over


@dataclass(frozen=True)
class Side:
    """A volume, what moves in it, and where it is."""

    volume: Tensor
    grid: Grid
    mask: Tensor | None
    head: Region

    def around_head(self) -> Side:
        """The side cropped to the surroundings of the head."""
        back = self.grid.to_index
        middle = rigid.transform(back, self.head.center.cpu()[None])[0]
        reach = REACH * self.head.radius * torch.linalg.norm(back[:3, :3], dim=1)
        first = (middle - reach).floor().long().clamp(min=0).tolist()
        last = (middle + reach).ceil().long().add(1).tolist()
        x, y, z = (slice(start, stop) for start, stop in zip(first, last, strict=True))
        window = x, y, z
        return Side(
            self.volume[window],
            self.grid.part(window),
            None if self.mask is None else self.mask[window],
            self.head.part(window),
        )

    def evened(self) -> Side:
        """Each voxel relative to the average around it: without the coils' sensitivity."""
        weights = self.head.weights
        widths = (_EVEN * self.head.radius / self.grid.sizes).tolist()
        near = gaussian_blur(weights, widths).clamp(min=1e-3)
        average = gaussian_blur(weights * self.volume, widths) / near
        least = _DARKEST * (weights * self.volume).sum() / weights.sum()
        return replace(self, volume=(self.volume / average.clamp(min=least)).clamp(max=_BRIGHTEST))

    def mirrored(self) -> Side:
        """The mirror image: its voxels in the other order along their first axis."""
        middle = rigid.transform(self.grid.to_index.to(self.head.center), self.head.center[None])
        middle[:, 0] = len(self.volume) - 1 - middle[:, 0]
        center = rigid.transform(self.grid.affine.to(middle), middle)[0]
        return Side(
            self.volume.flip(0),
            self.grid,
            None if self.mask is None else self.mask.flip(0),
            replace(self.head, weights=self.head.weights.flip(0), center=center),
        )

    def level(self, blur: float, *, cubic: bool = False, spacing: float = 0.0) -> Level:
        """A resolution level of its grid."""
        return make_level(
            self.grid, blur=blur, spacing=spacing, cubic=cubic, device=self.volume.device
        )

    @property
    def body(self) -> bool:
        """Whether, without a mask, it is larger than any head."""
        return self.mask is None and self.head.radius >= _LARGEST


def make_side(
    volume: NDArray[np.generic],
    affine: NDArray[np.float64],
    mask: NDArray[np.generic] | None,
    device: str | torch.device,
) -> Side:
    """Read a volume ``(X, Y, Z)``; what moves in it is its mask's, or all that is not air."""
    values = torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32)).to(device)
    grid = Grid.of(volume.shape, affine)
    bright = torch.quantile(values.flatten()[:: max(1, values.numel() // 1_000_000)], 0.98)
    if float(values.std()) <= 1e-6 * float(values.abs().max()):
        raise NoImageError("a volume is empty or constant, or nearly so")
    values = values / (bright if bright > 0 else values.abs().max())
    given = None if mask is None else torch.from_numpy(np.asarray(mask, np.float32)).to(device)
    head = find_head(values, grid, mask, largest=_LARGEST)
    return Side(values, grid, given, head)

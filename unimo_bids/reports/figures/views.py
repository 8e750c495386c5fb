"""Cuts through volumes, as readers expect them: upright, in proportion, left on the left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from nibabel.orientations import apply_orientation, io_orientation
from PIL import Image

Array = npt.NDArray[np.floating]
Bool = npt.NDArray[np.bool_]

# axial, coronal, sagittal: (across, up, through) as axes of a volume in RAS order
PLANES = ((0, 1, 2), (0, 2, 1), (1, 2, 0))
Plane = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class View:
    """The part of a volume that is shown: a box around the brain, in RAS order.

    Attributes
    ----------
    orientation
        ``(3, 2)``, as nibabel has it: where each axis of the volume goes.
    sizes
        ``(3,)`` mm of a voxel, in RAS order.
    box
        What is shown along each axis.
    middle
        Voxel in the middle of the brain.
    """

    orientation: Array
    sizes: Array
    box: tuple[slice, slice, slice]
    middle: tuple[int, int, int]

    def canonical(self, volume: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Turn a volume ``(X, Y, Z)`` into RAS order; a view of the same memory."""
        return np.asarray(apply_orientation(volume, self.orientation))

    def extent(self, plane: Plane) -> tuple[float, float]:
        """Width and height of a cut, mm."""
        across, up = (
            (self.box[axis].stop - self.box[axis].start) * float(self.sizes[axis])
            for axis in plane[:2]
        )
        return across, up

    def cut(
        self, canonical: npt.NDArray[np.generic], plane: Plane, index: int | None = None
    ) -> npt.NDArray[np.generic]:
        """Cut a volume in RAS order, ``(rows, columns)`` of voxels, top row first."""
        index = self.middle[plane[2]] if index is None else index
        place = tuple(index if axis == plane[2] else self.box[axis] for axis in range(3))
        return canonical[place].T[::-1]

    def indices(self, plane: Plane, mask: Bool, count: int) -> list[int]:
        """Choose places for cuts that are evenly spread over a mask in RAS order."""
        found = np.flatnonzero(mask.any(axis=plane[:2]))
        if not found.size:
            return [self.middle[plane[2]]] * count
        # the outermost slices show next to nothing
        spread = np.linspace(found[0], found[-1], count + 2)[1:-1]
        return [round(float(place)) for place in spread]


def evenly(count: int, most: int) -> npt.NDArray[np.intp]:
    """Choose `most` of so many things, evenly spread from the first to the last, or all."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def runs(marked: Bool) -> list[slice]:
    """Find the stretches that are marked without a gap."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marked.astype(int), [0]])))
    return [slice(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def view_around(mask: Bool, affine: Array, spare_mm: float = 8.0) -> View:
    """Frame a mask ``(X, Y, Z)`` with a margin."""
    orientation = io_orientation(affine)
    sizes = np.empty(3)
    sizes[orientation[:, 0].astype(int)] = np.linalg.norm(affine[:3, :3], axis=0)
    canonical = np.asarray(apply_orientation(mask, orientation))
    if not canonical.any():
        canonical = np.ones_like(canonical)
    box, middle = [], []
    for axis in range(3):
        found = np.flatnonzero(canonical.any(axis=tuple(a for a in range(3) if a != axis)))
        spare = int(np.ceil(spare_mm / sizes[axis]))
        start = max(int(found[0]) - spare, 0)
        box.append(slice(start, min(int(found[-1]) + 1 + spare, canonical.shape[axis])))
        middle.append(int((found[0] + found[-1]) // 2))
    return View(orientation, sizes, (box[0], box[1], box[2]), (middle[0], middle[1], middle[2]))


def intensity_window(volume: Array, mask: Bool) -> tuple[float, float]:
    """Choose what is black and what is white, from the values inside the brain."""
    values = volume[mask] if mask.any() else volume
    low, high = (float(x) for x in np.percentile(values, (1, 99.5)))
    # room for brighter surroundings, and dark tissue well above black
    low, high = 0.4 * low, 1.1 * high
    return low, high if high > low else low + 1


def to_bytes(values: npt.NDArray[np.generic], window: tuple[float, float]) -> npt.NDArray[np.uint8]:
    """Show values in a window as 0 … 255."""
    scaled = (values.astype(np.float32) - window[0]) * (255 / (window[1] - window[0]))
    return np.clip(scaled, 0, 255).astype(np.uint8)


def enlarged(
    cut: npt.NDArray[np.uint8], extent: tuple[float, float], pixel_mm: float
) -> npt.NDArray[np.uint8]:
    """Draw a cut of so many millimetres with square pixels."""
    size = [max(round(side / pixel_mm), 1) for side in extent]
    image = Image.fromarray(np.ascontiguousarray(cut))
    return np.asarray(image.resize((size[0], size[1]), Image.Resampling.BICUBIC))


def side_by_side(tiles: Sequence[npt.NDArray[np.uint8]], gap: int = 2) -> npt.NDArray[np.uint8]:
    """Set images in a row, each centred in height, black between them."""
    height = max(tile.shape[0] for tile in tiles)
    width = sum(tile.shape[1] for tile in tiles) + gap * (len(tiles) - 1)
    row = np.zeros((height, width, *tiles[0].shape[2:]), np.uint8)
    left = 0
    for tile in tiles:
        top = (height - tile.shape[0]) // 2
        row[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
        left += tile.shape[1] + gap
    return row

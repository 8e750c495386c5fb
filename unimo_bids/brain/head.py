"""Where the head is: soft weights from a mask, or from the image when there is none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from unimo_bids.brain.thresholds import HEAD
from unimo_bids.errors import InputError
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.interpolation import gaussian_blur
from unimo_bids.spatial.region import Region, centroid, largest_piece, radius_of

# radius of a ball with the volume of an adult brain (1.45 litres), mm
ADULT_RADIUS = 70.0


class MaskError(ValueError):
    """A mask from which no motion can be told; the message begins with "the mask"."""


class NoImageError(ValueError):
    """Every frame, or the one that counts, is empty or constant."""


@contextlib.contextmanager
def refusing(
    image: str | Path, mask: str | Path | None = None, *, many: bool = False
) -> Iterator[None]:
    """Turn both errors into refusals of a file.

    Parameters
    ----------
    image
        The file in which motion is looked for.
    mask
        The mask that was given; without one, the brain was found by the program.
    many
        Whether it is one mask for each frame.
    """
    try:
        yield
    except NoImageError as error:
        remedy = "look at the image, and export or convert it again"
        raise InputError(image, str(error), remedy) from error
    except MaskError as error:
        if mask is None:
            whose, remedy = "the brain that was found", "give a mask that covers the brain"
        elif many:
            # which frame is the reference, and so which of the masks counts, may be found only here
            whose = "the mask of the reference frame"
            remedy = "give every frame a mask, or choose another --reference"
        else:
            whose, remedy = "the mask", "give a mask that covers the brain"
        finding = str(error).replace("the mask", whose, 1)
        raise InputError(image if mask is None else mask, finding, remedy) from error


def find_head(
    reference: Tensor, grid: Grid, mask: NDArray[np.generic] | None, largest: float
) -> Region:
    """The head by its mask; without a mask, everything that is not air.

    Parameters
    ----------
    reference
        ``(X, Y, Z)``
    mask
        ``(X, Y, Z)`` bool or soft (0 … 1).
    largest
        No head has a greater radius, mm: what is larger is a body.

    Raises
    ------
    MaskError
        The mask is too small or inverted, or there is no signal in it.
    """
    if mask is None:
        found = foreground(reference, grid)
    else:
        found = torch.from_numpy(mask.astype(np.float32)).to(reference.device).clamp(0, 1)
        inside = found > 0.5
        fault = unfit(inside.cpu().numpy(), grid.affine.numpy())
        if fault is not None:
            raise MaskError(f"the mask {fault}")
        if bool((reference[inside] == reference[inside][0]).all()):
            raise MaskError("the mask covers no signal")
    radius = min(radius_of(found, grid), largest)
    reach = max(3.0 * radius / ADULT_RADIUS, 0.8 * grid.widest)
    return Region(
        grid=grid,
        weights=soft_weights(found, grid, reach),
        center=centroid(found, grid).to(reference.device),
        radius=radius,
    )


def unfit(inside: NDArray[np.bool_], affine: NDArray[np.floating]) -> str | None:
    """Say why a mask ``(X, Y, Z)`` is not that of a head; None if nothing speaks against it."""
    voxels = int(inside.sum())
    grid = Grid.of(inside.shape, affine)
    millilitres = voxels * grid.voxel_ml
    if voxels == 0:
        return "is empty"
    if _inverted(inside, grid):
        return "holds all corners of the field of view, and leaves out a head: is it inverted?"
    if voxels >= HEAD.fewest_voxels and millilitres >= HEAD.smallest_ml:
        return None
    size = f"{voxels} voxel" + ("s" if voxels > 1 else "")
    return (
        f"covers {size} ({millilitres:.2g} ml), less than the {HEAD.fewest_voxels} voxels and "
        f"{HEAD.smallest_ml:g} ml that motion can be told from"
    )


def _inverted(inside: NDArray[np.bool_], grid: Grid) -> bool:
    """Whether a mask holds all corners of a volume and leaves out a place as large as a head."""
    if not inside[np.ix_(*[[0, -1]] * 3)].all():
        return False
    left_out = ndimage.distance_transform_edt(~inside, sampling=grid.sizes.tolist())
    return bool(left_out.max() > HEAD.smallest_radius)


def foreground(volume: Tensor, grid: Grid) -> Tensor:
    """Everything that is not air, ``(X, Y, Z)`` 0 or 1: the largest piece, holes filled.

    The threshold is a quarter of the bright tissue's intensity (after a light blur), or Otsu's
    where that is lower.
    """
    sizes = grid.sizes.tolist()
    smooth = gaussian_blur(above_air(volume), [3.0 / s for s in sizes]).cpu().numpy()
    bright = float(np.quantile(smooth, 0.98))
    threshold = min(0.25 * bright, _otsu(smooth))
    binary = ndimage.binary_opening(smooth > threshold)
    if not binary.any():
        return torch.ones_like(volume)
    filled = ndimage.binary_fill_holes(largest_piece(binary))
    return torch.as_tensor(filled).to(volume)


def above_air(volume: Tensor) -> Tensor:
    """Intensities ``(X, Y, Z)`` above those of air, for an image that is below 0 for the most part.

    A file may be stored with an offset, or turned upside down by a negative slope. Air is what lies
    at the border. Any other image is given back as it is.
    """
    values = volume.flatten()[:: max(1, volume.numel() // 2**20)]
    low, high = np.quantile(values.cpu().numpy(), (0.01, 0.99)).tolist()  # torch's sorts all
    if high >= -low:
        return volume
    faces = [volume.select(axis, edge).flatten() for axis in range(3) for edge in (0, -1)]
    air = float(torch.cat(faces).median())
    return high - volume if high - air < air - low else volume - low


def _otsu(values: np.ndarray) -> float:
    """Threshold between two classes of intensities (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=256)
    centers = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centers)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(centers[np.nanargmax(between)])


def soft_weights(mask: Tensor, grid: Grid, reach: float) -> Tensor:
    """Weights that keep the mask and fade out over about ``reach`` mm around it.

    The edge of the brain carries much of what is known about its pose, so the rim just outside
    belongs to the registration.
    """
    sizes = grid.sizes.tolist()
    rim = gaussian_blur(mask.float(), [reach / s for s in sizes])
    return torch.maximum(mask.float(), (3 * rim).clamp(0, 1))

"""Brain extraction by two small networks: find the brain, then draw its outline.

*Find* sees the whole field of view in voxels of 6 mm, *segment* a box of 216 mm around what was
found, in voxels of 3 mm. Both read one image, flattened by a square root and scaled by its own
bright end, so that no contrast or unit matters. Both work along the volume's own axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from unimo_bids.brain.boxes import Box, covering
from unimo_bids.networks.unet import UNet
from unimo_bids.networks.weights import inference_type

FIND_MM, SEGMENT_MM = 6.0, 3.0
SEGMENT_SHAPE = (72, 72, 72)
_BRIGHT = 0.99  # quantile
_BRIGHTEST = 2.0  # relative to it; what is brighter is clipped

_LEAST_ML = 8.0  # what is smaller than a brain cut by most of the field of view is nothing
_RIVAL = 0.3  # a second region of this share of the first one's size is another brain
_OFF_CENTER_MM = 20.0  # once the brain is so far off the middle of its box, the box follows

Bool3 = NDArray[np.bool_]


@dataclass(frozen=True)
class Segmented:
    """What the networks see.

    Attributes
    ----------
    probability
        ``(X, Y, Z)`` float32 that a voxel is brain, the one region that was chosen.
    rivals
        How many other regions look like brains.
    """

    probability: NDArray[np.float32]
    rivals: int


class BrainNetworks(nn.Module):
    """Both networks, untrained."""

    def __init__(self) -> None:
        super().__init__()
        self.find = UNet((24, 32, 48))
        self.segment = UNet((32, 48, 64))


def normalised(image: Tensor) -> Tensor:
    """Square root of an image ``(X, Y, Z)`` relative to its bright end."""
    image = image.clamp(min=0)
    bright = torch.quantile(image.flatten()[:: max(1, image.numel() // 2**20)], _BRIGHT)
    return (image / bright.clamp(min=1e-6)).clamp(max=_BRIGHTEST).sqrt()


def segment_brain(volume: Tensor, sizes: Sequence[float], trained: BrainNetworks) -> Segmented:
    """Find one brain in a volume and draw its outline.

    Parameters
    ----------
    volume
        ``(X, Y, Z)`` float32, finite.
    sizes
        ``(3,)`` of its voxels, mm.
    trained
        With weights.
    """
    nothing = Segmented(np.zeros(tuple(volume.shape), dtype=np.float32), 0)
    whole = covering(volume.shape, sizes, FIND_MM, trained.find.multiple)
    regions = _regions(_answer(trained.find, volume, sizes, whole), whole)
    if not regions:
        return nothing
    center, largest = regions[0]
    box, chosen = _outlined(volume, sizes, trained, center)
    if chosen is None:
        return nothing
    rivals = sum(size > _RIVAL * largest for _, size in regions[1:])
    return Segmented(box.write(chosen, volume.shape, sizes).cpu().numpy(), rivals)


def follow_brain(
    volume: Tensor, sizes: Sequence[float], trained: BrainNetworks, center: Sequence[float]
) -> Segmented:
    """Draw the outline of a brain that is known to be about a place.

    Parameters
    ----------
    volume, sizes, trained
        As for `segment_brain`.
    center
        ``(3,)`` mm from the volume's first voxel along its axes.
    """
    box, chosen = _outlined(volume, sizes, trained, np.asarray(center))
    if chosen is None:
        return Segmented(np.zeros(tuple(volume.shape), dtype=np.float32), 0)
    return Segmented(box.write(chosen, volume.shape, sizes).cpu().numpy(), 0)


def _outlined(
    volume: Tensor, sizes: Sequence[float], trained: BrainNetworks, center: NDArray[np.float64]
) -> tuple[Box, Tensor | None]:
    """Probability on the box of the region around its middle, None if there is none."""
    for last in (False, True):
        box = Box(SEGMENT_MM, SEGMENT_SHAPE, (float(center[0]), float(center[1]), float(center[2])))
        probability = _answer(trained.segment, volume, sizes, box)
        regions = _regions(probability, box)
        if not regions:
            return box, None
        middle, _ = min(regions, key=lambda r: float(np.linalg.norm(r[0] - center)) - r[1] ** 0.5)
        if last or np.linalg.norm(middle - center) < _OFF_CENTER_MM:
            break
        center = middle
    inside = _region_at(probability.numpy() > 0.5, box, middle)
    near = ndimage.binary_dilation(inside, iterations=2)
    solid = ndimage.binary_fill_holes(inside) & ~inside
    chosen = probability * torch.from_numpy(near)
    chosen[torch.from_numpy(solid)] = 1.0
    return box, chosen


def _answer(network: nn.Module, volume: Tensor, sizes: Sequence[float], box: Box) -> Tensor:
    """Probability ``(X, Y, Z)`` on the box, on the CPU."""
    image = normalised(box.read(volume, sizes))
    kind = inference_type(volume.device)
    with (
        torch.inference_mode(),
        torch.autocast(volume.device.type, kind, enabled=kind != torch.float32),
    ):
        logits = network(image[None, None])
    return logits[0, 0].float().sigmoid().cpu().clone()


def _regions(probability: Tensor, box: Box) -> list[tuple[NDArray[np.float64], float]]:
    """Connected regions: centre, mm, and size, ml; the largest first."""
    pieces, count = ndimage.label(probability.numpy() > 0.5)
    found = []
    for number in range(1, count + 1):
        voxels = np.argwhere(pieces == number)
        size = len(voxels) * box.spacing**3 / 1000
        if size >= _LEAST_ML:
            mean = voxels.mean(axis=0)
            center = [box.positions(a)[0] + box.spacing * mean[a] for a in range(3)]
            found.append((np.array(center), size))
    return sorted(found, key=lambda region: -region[1])


def _region_at(inside: Bool3, box: Box, center: NDArray[np.float64]) -> Bool3:
    """The connected region whose centre this is."""
    pieces, count = ndimage.label(inside)
    middles = ndimage.center_of_mass(inside, pieces, range(1, count + 1))
    first = np.array([box.positions(a)[0] for a in range(3)])
    apart = [np.linalg.norm(first + box.spacing * np.array(m) - center) for m in middles]
    return np.asarray(pieces == 1 + int(np.argmin(apart)))

"""Brain extraction by two small networks: find the brain, then draw its outline.

*Find* sees the whole field of view in voxels of 6 mm. *Segment* sees a box around what was found,
just so large that brains of all ages fill it alike, in voxels of 1.5 to 4 mm. Both read one image,
flattened by a square root and scaled by its own bright end, so that no contrast or unit matters.
Both work along the volume's own axes.
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
from unimo_bids.brain.extraction import ball_radius
from unimo_bids.networks.unet import UNet
from unimo_bids.networks.weights import inference_type

FIND_MM = 6.0
_SEGMENT_SHAPE = (56, 56, 56)
_SEGMENT_WIDTH = 3.3  # of the box, relative to the radius of a ball with the brain's volume
_BRIGHT = 0.99  # quantile
_BRIGHTEST = 2.0  # relative to it; what is brighter is clipped

LEAST_ML = 8.0  # what is smaller than a brain cut by most of the field of view is nothing
_RIVAL = 0.3  # a second region of this share of the first one's size is another brain
# The box follows the brain once this far off, relative to its radius, or so much larger or smaller.
_OFF_CENTER, _OFF_SIZE = 0.25, 1.2
_LOOKS = 3  # at most


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
        self.find = UNet((32, 32, 48, 64))
        self.segment = UNet((32, 48, 64))


def segment_box(center: Sequence[float] | NDArray[np.float64], radius: float) -> Box:
    """What *segment* sees of a brain.

    Parameters
    ----------
    center
        ``(3,)`` mm from the volume's first voxel along its axes.
    radius
        Of a ball with the brain's volume, mm.
    """
    x, y, z = (float(c) for c in center)
    return Box(_SEGMENT_WIDTH * radius / _SEGMENT_SHAPE[0], _SEGMENT_SHAPE, (x, y, z))


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
    _, regions = _regions(_answer(trained.find, volume, sizes, whole), whole)
    if not regions:
        return nothing
    first, *others = regions.values()
    found = _outlined(volume, sizes, trained, first)
    rivals = sum(other.volume > _RIVAL * first.volume for other in others)
    return nothing if found is None else Segmented(found, rivals)


def follow_brain(
    volume: Tensor,
    sizes: Sequence[float],
    trained: BrainNetworks,
    center: Sequence[float],
    size: float,
) -> Segmented:
    """Draw the outline of a brain that is known to be about a place.

    Parameters
    ----------
    volume, sizes, trained
        As for `segment_brain`.
    center
        ``(3,)`` mm from the volume's first voxel along its axes.
    size
        About the brain's volume, ml.
    """
    known = _Region(np.asarray(center, dtype=np.float64), size)
    found = _outlined(volume, sizes, trained, known)
    return Segmented(np.zeros(tuple(volume.shape), np.float32) if found is None else found, 0)


@dataclass(frozen=True)
class _Region:
    """A connected region: its centre, mm from the volume's first voxel, and volume, ml."""

    center: NDArray[np.float64]
    volume: float

    @property
    def radius(self) -> float:
        return ball_radius(self.volume)

    def like(self, other: _Region) -> bool:
        """Whether a box made for one shows the other well."""
        apart = float(np.linalg.norm(self.center - other.center))
        return (
            apart < _OFF_CENTER * self.radius
            and 1 / _OFF_SIZE < self.radius / other.radius < _OFF_SIZE
        )


def _outlined(
    volume: Tensor, sizes: Sequence[float], trained: BrainNetworks, region: _Region
) -> NDArray[np.float32] | None:
    """Probability ``(X, Y, Z)`` of the brain that is about a region, None if there is none."""
    for _ in range(_LOOKS):
        before = region
        box = segment_box(before.center, before.radius)
        probability = _answer(trained.segment, volume, sizes, box)
        pieces, regions = _regions(probability, box)
        if not regions:
            return None
        number, region = min(
            regions.items(),
            key=lambda one: float(np.linalg.norm(one[1].center - before.center)) / one[1].radius,
        )
        if region.like(before):
            break
    inside = pieces == number
    near = ndimage.binary_dilation(inside, iterations=2) & ((pieces == 0) | inside)
    chosen = np.where(near, probability, 0)
    chosen[ndimage.binary_fill_holes(inside) & ~inside] = 1
    return box.write(torch.from_numpy(chosen), volume.shape, sizes).numpy()


def _answer(
    network: nn.Module, volume: Tensor, sizes: Sequence[float], box: Box
) -> NDArray[np.float32]:
    """Probability ``(X, Y, Z)`` on the box."""
    image = normalised(box.read(volume, sizes))
    kind = inference_type(volume.device)
    with (
        torch.inference_mode(),
        torch.autocast(volume.device.type, kind, enabled=kind != torch.float32),
    ):
        logits = network(image[None, None])
    return logits[0, 0].float().sigmoid().cpu().numpy()


def _regions(
    probability: NDArray[np.float32], box: Box
) -> tuple[NDArray[np.integer], dict[int, _Region]]:
    """Connected regions by their number in a map of them; the largest first."""
    pieces, _ = ndimage.label(probability > 0.5)
    first = np.array([box.positions(a)[0] for a in range(3)])
    found = {}
    for number, where in enumerate(ndimage.find_objects(pieces), start=1):
        voxels = np.argwhere(pieces[where] == number)
        volume = len(voxels) * box.spacing**3 / 1000
        if volume >= LEAST_ML:
            low = np.array([part.start for part in where])
            center = first + box.spacing * (low + voxels.mean(axis=0))
            found[number] = _Region(center, volume)
    return pieces, dict(sorted(found.items(), key=lambda one: -one[1].volume))

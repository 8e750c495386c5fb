"""Three small networks for brain extraction, and what they look at.

*Find* sees windows of 240 mm, which overlap, in voxels of 5 mm. *Segment* sees a box around what
was found, just so large that brains of all ages fill it alike, in voxels of 1.5 to 4 mm.
*Recognise* sees an outline in a box with all that lies around a brain, and says whether it is one.
All read one image, flattened by a square root and scaled by its own bright end, so that no
contrast or unit matters, nor what else is in view. All work along the volume's own axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d

from unimo_bids.networks.unet import UNet, block, space_to_depth
from unimo_bids.networks.weights import inference_type
from unimo_bids.spatial.boxes import Box

FIND_MM = 5.0
WINDOW = 48  # voxels of *find* along each axis
_SEGMENT_SHAPE = (56, 56, 56)
_SEGMENT_WIDTH = 3.3  # of the box, relative to the radius of a ball with the brain's volume
_RECOGNISE_SHAPE = (48, 48, 48)
_RECOGNISE_WIDTH = 5.0  # relative to the radius as well
_BRIGHT = 0.99  # quantile
_BRIGHTEST = 2.0  # relative to it; what is brighter is clipped


class BrainNetworks(nn.Module):
    """All three networks, untrained."""

    def __init__(self) -> None:
        super().__init__()
        self.find = UNet((32, 32, 48, 64))
        self.segment = UNet((32, 48, 64))
        self.recognise = Recognise((24, 32, 48, 64))


class Recognise(nn.Module):
    """Whether an outline is that of a brain, all of it and nothing else.

    Parameters
    ----------
    widths
        Channels from half the input's resolution to the coarsest.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        before = [16, *widths[:-1]]
        self.blocks = nn.ModuleList(map(block, before, widths))
        self.head = nn.Linear(2 * widths[-1], 1)

    def forward(self, seen: Tensor) -> Tensor:
        """Logits ``(B,)`` of images and outlines ``(B, 2, X, Y, Z)``."""
        x = space_to_depth(seen)
        for level, part in enumerate(self.blocks):
            x = part(avg_pool3d(x, 2) if level else x)
        pooled = torch.cat([x.mean((2, 3, 4)), x.amax((2, 3, 4))], dim=1)
        return self.head(pooled)[:, 0]


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


def recognise_box(center: Sequence[float] | NDArray[np.float64], radius: float) -> Box:
    """What *recognise* sees of an outline, as `segment_box`."""
    x, y, z = (float(c) for c in center)
    return Box(_RECOGNISE_WIDTH * radius / _RECOGNISE_SHAPE[0], _RECOGNISE_SHAPE, (x, y, z))


def outlined_image(
    volume: Tensor, sizes: Sequence[float], box: Box, outline: Tensor, drawn: Box
) -> Tensor:
    """Image and outline ``(2, X, Y, Z)`` for *recognise*, in a box.

    Parameters
    ----------
    volume, sizes
        ``(X, Y, Z)`` and its voxels, mm.
    box
        From `recognise_box`.
    outline
        ``(U, V, W)`` 0 … 1.
    drawn
        The box that it is drawn in.
    """
    shifted = np.asarray(box.center) - drawn.place(np.zeros(3))
    x, y, z = (float(c) for c in shifted)
    there = Box(box.spacing, box.shape, (x, y, z)).read(outline, (drawn.spacing,) * 3)
    return torch.stack([normalised(box.read(volume, sizes)), there.to(volume.device)])


def normalised(image: Tensor) -> Tensor:
    """Square root of an image ``(X, Y, Z)`` relative to its bright end."""
    image = image.clamp(min=0)
    values = image.flatten()[:: max(1, image.numel() // 2**20)]
    bright = float(np.quantile(values.cpu().numpy(), _BRIGHT))  # torch's sorts all values
    return (image / max(bright, 1e-6)).clamp(max=_BRIGHTEST).sqrt()


def answer(network: nn.Module, seen: Tensor) -> Tensor:
    """Probability, by one of the networks, of what it sees ``(B, C, X, Y, Z)``."""
    kind = inference_type(seen.device)
    with (
        torch.inference_mode(),
        torch.autocast(seen.device.type, kind, enabled=kind != torch.float32),
    ):
        logits = network(seen)
    return logits.float().sigmoid()


def segmented(
    network: nn.Module, volume: Tensor, sizes: Sequence[float], box: Box
) -> NDArray[np.float32]:
    """Probability of brain ``(X, Y, Z)`` on a box, by *segment*."""
    image = normalised(box.read(volume, sizes))
    return answer(network, image[None, None])[0, 0].cpu().numpy()

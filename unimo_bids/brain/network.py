"""Two small networks for brain extraction, and what they look at.

*Find* sees the whole field of view in voxels of 6 mm. *Segment* sees a box around what was found,
just so large that brains of all ages fill it alike, in voxels of 1.5 to 4 mm. Both read one image,
flattened by a square root and scaled by its own bright end, so that no contrast or unit matters.
Both work along the volume's own axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unimo_bids.networks.unet import UNet
from unimo_bids.networks.weights import inference_type
from unimo_bids.spatial.boxes import Box

FIND_MM = 6.0
FIND_VOXELS = 64  # along each axis in training; less air about a head would be another picture
_SEGMENT_SHAPE = (56, 56, 56)
_SEGMENT_WIDTH = 3.3  # of the box, relative to the radius of a ball with the brain's volume
_BRIGHT = 0.99  # quantile
_BRIGHTEST = 2.0  # relative to it; what is brighter is clipped


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
    values = image.flatten()[:: max(1, image.numel() // 2**20)]
    bright = float(np.quantile(values.cpu().numpy(), _BRIGHT))  # torch's sorts all values
    return (image / max(bright, 1e-6)).clamp(max=_BRIGHTEST).sqrt()


def answer(
    network: nn.Module, volume: Tensor, sizes: Sequence[float], box: Box
) -> NDArray[np.float32]:
    """Probability of brain ``(X, Y, Z)`` on a box, as one of the networks sees it."""
    image = normalised(box.read(volume, sizes))
    kind = inference_type(volume.device)
    with (
        torch.inference_mode(),
        torch.autocast(volume.device.type, kind, enabled=kind != torch.float32),
    ):
        logits = network(image[None, None])
    return logits[0, 0].float().sigmoid().cpu().numpy()

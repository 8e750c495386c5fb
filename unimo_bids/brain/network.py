"""Two small networks and a classifier for brain extraction, and what they look at.

*Find* sees windows of 240 mm, which overlap, in voxels of 5 mm. *Segment* sees a box around what
was found, just so large that brains of all ages fill it alike, in voxels of 1.5 to 4 mm.
*Recognise* says from what *segment*'s layers hold inside and around an outline whether it is that
of a brain. Both read one image, flattened by a square root and scaled by its own bright end, so
that no contrast or unit matters, nor what else is in view. Both work along the volume's own axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d, pad

from unimo_bids.networks.unet import UNet
from unimo_bids.networks.weights import quick_arithmetic
from unimo_bids.spatial.boxes import Box

FIND_MM = 5.0
WINDOW = 48  # voxels of *find* along each axis
_SEGMENT_SHAPE = (56, 56, 56)
_SEGMENT_WIDTH = 3.3  # of the box, relative to the radius of a ball with the brain's volume
# voxels of *segment* on either side of an outline that count as around it; and the steps by which
# the largest of two neighbours becomes that of twice as many, of 2, 4, 8 and all 13
_AROUND, _STEPS = 6, (1, 2, 4, 5)
_BRIGHT = 0.99  # quantile
_BRIGHTEST = 2.0  # relative to it; what is brighter is clipped


class BrainNetworks(nn.Module):
    """All three, untrained."""

    def __init__(self) -> None:
        super().__init__()
        self.find = UNet((32, 32, 48, 64))
        self.segment = UNet((32, 48, 64))
        self.recognise = Recognise(3 * (32 + 48 + 64 + 48 + 32) + 2)


class Recognise(nn.Module):
    """Whether an outline is that of a brain: logistic in features relative to their spread."""

    mean: Tensor
    spread: Tensor

    def __init__(self, many: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(many))
        self.register_buffer("spread", torch.ones(many))
        self.head = nn.Linear(many, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @torch.no_grad()
    def rescale(self, mean: Tensor, spread: Tensor) -> None:
        """Make features relative to another mean and spread ``(F,)``; answers stay the same."""
        slopes = self.head.weight[0] / self.spread
        self.head.bias.add_(slopes @ (mean - self.mean))
        self.head.weight[0] = slopes * spread
        self.mean.copy_(mean)
        self.spread.copy_(spread)

    def forward(self, features: Tensor) -> Tensor:
        """Logits ``(B,)`` of features ``(B, F)``."""
        return self.head((features - self.mean) / self.spread)[:, 0]


def features(probability: Tensor, layers: Sequence[Tensor], inside: Tensor) -> Tensor:
    """What *segment* holds about an outline, ``(F,)``.

    Mean and standard deviation inside, and mean around it, of every channel of its layers; how
    clear the outline is, and how large.

    Parameters
    ----------
    probability
        ``(X, Y, Z)`` its answer.
    layers
        ``(1, C, …)`` each.
    inside
        ``(X, Y, Z)`` the outline, 0 or 1.
    """
    inside = inside[None, None].float()
    around = _widened(inside) - inside
    found = []
    for layer in layers:
        values = layer[0].flatten(1).float()
        step = inside.shape[-1] // layer.shape[-1]
        within, beside = (
            avg_pool3d(part, step).flatten() / part.sum().clamp(min=1) * step**3
            for part in (inside, around)
        )
        mean = values @ within
        found += [mean, (values.square() @ within - mean**2).clamp(min=0).sqrt(), values @ beside]
    clear = (probability * inside[0, 0]).sum() / inside.sum().clamp(min=1)
    return torch.cat([*found, torch.stack([clear, inside.mean().clamp(min=1e-4).log()])])


def _widened(inside: Tensor) -> Tensor:
    """Largest value nearby, ``(1, 1, X, Y, Z)``: in a quarter of `max_pool3d`'s time."""
    wide = pad(inside, [_AROUND] * 6)
    for axis in (2, 3, 4):
        for step in _STEPS:
            many = wide.shape[axis] - step
            wide = torch.maximum(wide.narrow(axis, 0, many), wide.narrow(axis, step, many))
    return wide


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


@contextmanager
def inference(device: torch.device) -> Iterator[None]:
    """Without gradients, in the arithmetic that the processor is quick in."""
    with torch.inference_mode(), quick_arithmetic(device):
        yield

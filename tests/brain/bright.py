"""Networks that call bright what is bright, and balls for them to find."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d

from unimo_bids.brain.network import BrainNetworks

SIZES = (3.0, 3.0, 4.5)
AFFINE = np.diag([*SIZES, 1.0])


class _Bright(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return 40 * (image - 0.5)

    def layers(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self(image), [avg_pool3d(image, 2)]


class Recogniser(nn.Module):
    """Takes everything that is outlined for a brain; or what has structure, or has none."""

    structured: bool | None = None

    def forward(self, features: Tensor) -> Tensor:
        _mean, deviation, _around, _clear, _size = features.unbind(1)
        if self.structured is None:
            return torch.full_like(deviation, 4.0)
        return 100 * (deviation - 0.08) * (1 if self.structured else -1)


def bright_networks() -> BrainNetworks:
    """Networks that find whatever is bright."""
    trained = BrainNetworks().eval()
    for part in ("find", "segment"):
        trained.add_module(part, _Bright())
    trained.add_module("recognise", Recogniser())
    return trained


def volume_of(*balls: tuple[tuple[float, float, float], float], structure: float = 0.15) -> Tensor:
    """Bright balls, centre and radius in mm, in the dark, ``(100, 90, 40)`` voxels."""
    axes = np.meshgrid(
        *(s * np.arange(n) for s, n in zip(SIZES, (100, 90, 40), strict=True)), indexing="ij"
    )
    volume = np.zeros(axes[0].shape, dtype=np.float32)
    for center, radius in balls:
        squared = sum((a - c) ** 2 for a, c in zip(axes, center, strict=True))
        volume[squared < radius**2] = 1000
    waves = np.prod([np.sin(a / 8) for a in axes], axis=0)
    return torch.from_numpy((volume * (1 + structure * waves)).astype(np.float32))

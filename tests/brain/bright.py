"""Networks that call bright what is bright, and balls for them to find."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d

from unimo_bids.brain.finder import BrainFinder
from unimo_bids.brain.network import BrainNetworks
from unimo_bids.brain.outline import Place
from unimo_bids.brain.segmentation import Segmented

SIZES = (3.0, 3.0, 4.5)
AFFINE = np.diag([*SIZES, 1.0])


class Bright(nn.Module):
    """Takes what is bright for a brain."""

    def forward(self, image: Tensor) -> Tensor:
        return 40 * (image - 0.5)

    def layers(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self(image), [avg_pool3d(image, 2)]


class Recogniser(nn.Module):
    """Takes all that is outlined for a brain; or what has something around it, or has nothing."""

    surrounded: bool | None = None

    def forward(self, features: Tensor) -> Tensor:
        _mean, _deviation, around, _clear, _size = features.unbind(1)
        if self.surrounded is None:
            return torch.full_like(around, 4.0)
        return 40 * (around - 0.2) * (1 if self.surrounded else -1)


class Blind(Bright):
    """A network that sees nothing anywhere."""

    def forward(self, image: Tensor) -> Tensor:
        return image - 10


def bright_networks() -> BrainNetworks:
    """Networks that find whatever is bright."""
    trained = BrainNetworks().eval()
    for part in ("find", "segment"):
        trained.add_module(part, Bright())
    trained.add_module("recognise", Recogniser())
    return trained


def confident(monkeypatch: pytest.MonkeyPatch, confidence: float) -> None:
    """Have every brain that is found held for one with this confidence."""
    find = BrainFinder.find

    def sure(finder: BrainFinder, *asked: Any) -> Segmented:
        found = find(finder, *asked)
        place = Place(np.zeros(3), 200.0, confidence)
        return replace(found, places=(place,) if found.places else ())

    monkeypatch.setattr(BrainFinder, "find", sure)


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

"""A small U-Net for one channel in and one channel out, quick on a CPU.

Convolutions with one input channel waste a processor's wide arithmetic. So the image enters as
eight interleaved images of half the resolution (space to depth), and leaves in the same way.
Every volume is normalised by itself: contrasts differ so much that averages over volumes (batch
normalisation) say nothing about the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d, interpolate


class UNet(nn.Module):
    """U-Net on volumes whose sizes are multiples of `multiple`.

    Parameters
    ----------
    widths
        Channels from the finest level (half the input's resolution) to the coarsest.
    """

    def __init__(self, widths: Sequence[int] = (32, 48, 64)) -> None:
        super().__init__()
        self.multiple: int = 2 ** len(widths)
        before = [8, *widths[:-1]]
        self.down = nn.ModuleList(map(_block, before, widths))
        joined = [a + b for a, b in pairwise(widths)]
        self.up = nn.ModuleList(map(_block, joined, widths[:-1]))
        self.head = nn.Conv3d(widths[0], 8, 1)
        assert self.head.bias is not None
        nn.init.constant_(self.head.bias, -3.0)  # most of what it sees is not what it looks for

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(B, 1, X, Y, Z)`` of an image ``(B, 1, X, Y, Z)``."""
        return self.layers(image)[0]

    def layers(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits, and what all levels see, ``(B, C, …)`` each, on the way down and up."""
        x = space_to_depth(image)
        seen: list[Tensor] = []
        for level, part in enumerate(self.down):
            x = part(avg_pool3d(x, 2) if level else x)
            seen.append(x)
        skipped = seen[:-1]
        for part in reversed(self.up):
            x = interpolate(x, scale_factor=2, mode="nearest")
            x = part(torch.cat([skipped.pop(), x], dim=1))
            seen.append(x)
        return depth_to_space(self.head(x)), seen


def _block(channels: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (channels, width):
        layers += [nn.Conv3d(before, width, 3, padding=1, bias=False)]
        layers += [nn.InstanceNorm3d(width, affine=True), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def space_to_depth(image: Tensor) -> Tensor:
    """``(B, C, 2X, 2Y, 2Z)`` → ``(B, 8 C, X, Y, Z)``."""
    b, c, x, y, z = image.shape
    parts = image.reshape(b, c, x // 2, 2, y // 2, 2, z // 2, 2)
    return parts.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, 8 * c, x // 2, y // 2, z // 2)


def depth_to_space(channels: Tensor) -> Tensor:
    """``(B, 8, X, Y, Z)`` → ``(B, 1, 2X, 2Y, 2Z)``."""
    b, _, x, y, z = channels.shape
    parts = channels.reshape(b, 2, 2, 2, x, y, z)
    return parts.permute(0, 4, 1, 5, 2, 6, 3).reshape(b, 1, 2 * x, 2 * y, 2 * z)

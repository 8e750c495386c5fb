"""The small U-Net."""

from __future__ import annotations

import torch

from unimo_bids.networks.unet import UNet


def test_it_learns_to_fill_a_shell():
    """Inside and outside look the same: only what is around a voxel tells them apart."""
    torch.manual_seed(0)
    network = UNet((8, 16, 16))
    axes = torch.meshgrid(*(torch.arange(24.0),) * 3, indexing="ij")

    def sample(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        center = torch.rand(3, generator=torch.Generator().manual_seed(seed)) * 8 + 8
        distance = sum((a - c).square() for a, c in zip(axes, center, strict=True)).sqrt()
        ball, shell = distance < 6, (distance - 6).abs() < 1
        return shell.float()[None, None], ball.float()[None, None]

    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    for step in range(50):
        image, ball = sample(step)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(image), ball)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    image, ball = sample(1000)
    found = network(image) > 0
    dice = 2 * float((found * ball).sum()) / float(found.sum() + ball.sum())
    assert dice > 0.85

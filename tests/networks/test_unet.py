"""The small U-Net."""

from __future__ import annotations

import torch

from unimo_bids.networks.unet import UNet, depth_to_space, space_to_depth


def test_space_to_depth_is_undone_and_keeps_neighbours_together() -> None:
    image = torch.randn(2, 1, 4, 6, 8)
    deep = space_to_depth(image)
    assert deep.shape == (2, 8, 2, 3, 4)
    assert torch.equal(depth_to_space(deep), image)
    assert torch.equal(
        deep[0, :, 1, 2, 3].sort()[0], image[0, 0, 2:4, 4:6, 6:8].flatten().sort()[0]
    )


def test_output_is_as_large_as_the_input_whatever_its_shape() -> None:
    network = UNet((8, 8, 8)).eval()
    assert network.multiple == 8
    with torch.no_grad():
        assert network(torch.randn(1, 1, 16, 24, 8)).shape == (1, 1, 16, 24, 8)


def test_it_learns_to_fill_a_shell() -> None:
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

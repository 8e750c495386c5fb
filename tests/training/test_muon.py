"""Steps along orthogonal matrices."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unimo_bids.training.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(8, 8), (8, 50), (50, 8)])
def test_singular_vectors_are_kept_and_their_values_evened(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape) @ torch.diag(torch.logspace(-1, 0, shape[1]))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    evened = u.T @ orthogonal(matrix) @ v.T
    values = evened.diagonal()
    assert (evened - torch.diag(values)).abs().max() < 1e-3
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_it_finds_a_kernel_that_is_known():
    torch.manual_seed(0)
    wanted, found = nn.Conv3d(4, 8, 3, bias=False), nn.Conv3d(4, 8, 3, bias=False)
    optimiser = Muon(found.parameters())
    for step in range(150):
        optimiser.param_groups[0]["lr"] = 0.05 * (1 - step / 150)
        image = torch.randn(1, 4, 6, 6, 6)
        found.zero_grad()
        (found(image) - wanted(image)).square().mean().backward()
        optimiser.step()
    far = (found.weight - wanted.weight).norm() / wanted.weight.norm()
    assert far < 0.1

"""Weights on disk."""

from __future__ import annotations

import pytest
import torch

from unimo_bids.errors import MachineError
from unimo_bids.networks.unet import UNet
from unimo_bids.networks.weights import load_weights, save_weights


def test_what_is_read_answers_as_what_was_written(tmp_path):
    torch.manual_seed(0)
    network = UNet((8, 16))
    network(torch.randn(2, 1, 8, 8, 8))  # running statistics that are not those of a new one
    save_weights(network, tmp_path / "w.safetensors")
    other = load_weights(UNet((8, 16)), tmp_path / "w.safetensors")
    image = torch.randn(1, 1, 8, 8, 8)
    assert torch.allclose(other(image), network.eval()(image), atol=1e-2)
    assert not other.training
    assert (tmp_path / "w.safetensors").stat().st_size < 2.5 * sum(
        p.numel() for p in network.parameters()
    )


@pytest.mark.parametrize("damage", ["cut", "text", "other", "gone"])
def test_damaged_weights_are_refused_in_one_sentence(tmp_path, damage):
    path = tmp_path / "w.safetensors"
    save_weights(UNet((8, 16)), path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "text":
        path.write_text("version https://git-lfs")
    elif damage == "other":
        save_weights(UNet((8, 8)), path)
    else:
        path.unlink()
    with pytest.raises(MachineError, match="holds no weights of this network") as caught:
        load_weights(UNet((8, 16)), path)
    assert "\n" not in str(caught.value)

"""Shipped weights: safetensors in half precision, each with a model card beside it."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from unimo_bids.errors import MachineError
from unimo_bids.files.staging import atomic

FOLDER = Path(str(files("unimo_bids") / "data" / "weights"))


def save_weights(network: nn.Module, path: Path) -> None:
    """Write a network's weights and running statistics, in half precision."""
    state = {
        name: value.detach().cpu().half() if value.is_floating_point() else value.cpu()
        for name, value in network.state_dict().items()
    }
    with atomic(path) as staged:
        save_file(state, staged)


def load_weights(network: nn.Module, path: Path, *, partial: bool = False) -> nn.Module:
    """Fill a network from a file and set it to inference.

    A `partial` file may lack some of the network's parts; these stay as they are.
    """
    try:
        state = load_file(path)
        if partial:
            state = network.state_dict() | state
        network.load_state_dict(state)
    except (OSError, RuntimeError, SafetensorError) as error:
        first = str(error).splitlines()[0]
        raise MachineError(
            path, f"holds no weights of this network ({first})", "reinstall"
        ) from None
    return network.float().eval()


@cache
def checksum(path: Path) -> str:
    """First twelve digits of the file's SHA-256."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]


def shipped() -> str:
    """Name the networks that runs are corrected with, each with its checksum."""
    paths = [FOLDER / f"{name}.safetensors" for name in ("brain", "pose", "track")]
    return ", ".join(f"{path.stem} {checksum(path)}" for path in paths if path.exists()) or "none"


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a processor does so itself; convolutions take minutes where it does not."""
    return device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def quick_arithmetic(device: torch.device) -> torch.autocast:
    """Use bfloat16 where the processor multiplies that itself, else float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=multiplies_bfloat16(device))

"""Which processor to compute on."""

from __future__ import annotations

from unimo_bids.errors import MachineError


def torch_device(name: str) -> str:
    """Check a device asked for; ``auto`` means a GPU if there is one."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if count else "cpu"
    if name.startswith("cuda") and int(name.partition(":")[2] or 0) >= count:
        finding = f"PyTorch finds {count} CUDA devices here" if count else "no CUDA device here"
        raise MachineError(f"--device {name}", finding, "use --device cpu or auto")
    return name

"""Which processor to compute on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from unimo_bids.errors import MachineError

_LOG = logging.getLogger("unimo_bids")
Result = TypeVar("Result")


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


def on_device(work: Callable[[str], Result], device: str) -> Result:
    """Do some work on a device; on the CPU, with a warning, where its memory does not suffice."""
    import torch

    try:
        return work(device)
    except torch.OutOfMemoryError as error:
        if not device.startswith("cuda"):
            raise
        reason = str(error).partition("\n")[0]
        _LOG.warning("The memory of %s does not suffice, the CPU takes over: %s", device, reason)
    # only here: as long as the error is alive, so are the tensors of its frames
    torch.cuda.empty_cache()
    return work("cpu")

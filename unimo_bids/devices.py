"""Which processor to compute on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

from unimo_bids.errors import MachineError

_LOG = logging.getLogger("unimo_bids")
Result = TypeVar("Result")

# of what is usually on a GPU at a time
batch_share: ContextVar[float] = ContextVar("batch_share", default=1.0)
_SHARES = (1.0, 0.25)


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
    """Do some work on a device; for want of memory, less at a time or on the CPU, with warnings."""
    import torch

    if not device.startswith("cuda"):
        return work(device)
    for share, instead in zip(_SHARES, ("less at a time", "the CPU takes over"), strict=True):
        before = batch_share.set(share)
        try:
            return work(device)
        except torch.OutOfMemoryError as error:
            reason = str(error).partition("\n")[0]
            _LOG.warning("The memory of %s does not suffice, %s: %s", device, instead, reason)
        finally:
            batch_share.reset(before)
        # only here: as long as the error is alive, so are the tensors of its frames
        torch.cuda.empty_cache()
    return work("cpu")

"""Arrays that memory need not hold."""

from __future__ import annotations

import tempfile

import numpy as np
from numpy.typing import NDArray


def on_disk(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """An array in a temporary file, which is removed with the last reference to it."""
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype=np.float32, mode="w+", shape=shape)

"""NumPy files, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unimo_bids.files.staging import atomic


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write one array (npy)."""
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)


def write_arrays(path: Path, arrays: dict[str, Any], *, compressed: bool = False) -> None:
    """Write arrays by their names (npz)."""
    with atomic(path) as temporary, temporary.open("wb") as file:
        (np.savez_compressed if compressed else np.savez)(file, **arrays)

"""A series kept as it lies in memory: later steps map the file, and read what they look at.

It has been unpacked, checked and repaired once; nobody does so again. Processes that map the same
file share its memory.
"""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np

from unimo_bids.errors import MachineError
from unimo_bids.files.series import Series, read_series
from unimo_bids.files.staging import atomic

SUFFIX = ".series"


def keep_series(path: Path, series: Series) -> Path:
    """Write a series for `open_series` to map: its frames as a NumPy array, then the rest."""
    about, frames = replace(series, data=np.empty(0)), np.moveaxis(series.data, -1, 0)
    head = {"descr": np.lib.format.dtype_to_descr(frames.dtype), "fortran_order": False}
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, head | {"shape": frames.shape})
        for frame in frames:  # `np.save` does not say why it could not write
            file.write(np.ascontiguousarray(frame).data)
        pickle.dump(about, file)
    return path


def open_series(path: str | Path) -> Series:
    """Open a series that was kept, or an image file."""
    path = Path(path)
    if path.suffix != SUFFIX:
        return read_series(path)
    try:
        frames = np.load(path, mmap_mode="r")
        with path.open("rb") as file:
            file.seek(frames.offset + frames.nbytes)
            about: Series = pickle.load(file)
    except Exception as error:  # pickle has many ways to fail
        finding = "this file of the work folder is damaged or missing"
        raise MachineError(path, finding, "repeat the command: this step is run again") from error
    return replace(about, data=np.moveaxis(np.asarray(frames), 0, -1))

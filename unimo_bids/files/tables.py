"""Tables as BIDS has them: tab-separated, ``n/a`` for what is not known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unimo_bids.errors import InputError
from unimo_bids.files.staging import write_text


def write_table(path: str | Path, columns: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Write columns of equal length, numbers with eight digits, NaN as ``n/a``."""
    rows = zip(*columns.values(), strict=True)
    lines = ["\t".join(columns), *("\t".join(_cell(value) for value in row) for row in rows)]
    write_text(path, "\n".join(lines) + "\n")


def read_words(path: str | Path, name: str) -> npt.NDArray[np.str_]:
    """Read one column as it is written.

    Raises `InputError`: the table has no such column.
    """
    header, *rows = (line.split("\t") for line in Path(path).read_text().splitlines())
    if name not in header:
        raise InputError(path, f"it has no column {name}", "give a table of this program")
    return np.array([row[header.index(name)] for row in rows])


def read_columns(path: str | Path) -> dict[str, npt.NDArray[np.float64]]:
    """Read the numeric columns of a table, ``n/a`` as NaN."""
    header, *rows = (line.split("\t") for line in Path(path).read_text().splitlines())
    columns = {}
    for name, cells in zip(header, zip(*rows, strict=True), strict=True):
        try:
            values = [np.nan if cell == "n/a" else float(cell) for cell in cells]
        except ValueError:
            continue
        columns[name] = np.array(values)
    return columns


def _cell(value: object) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.8g}" if np.isfinite(value) else "n/a"
    return str(value)

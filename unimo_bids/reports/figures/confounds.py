"""How the confounds depend on each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap

from unimo_bids.errors import InputError
from unimo_bids.files.tables import read_columns
from unimo_bids.reports.figures import style
from unimo_bids.reports.summary import AGAIN

Float64 = npt.NDArray[np.float64]

# Expansions and regressors of single frames or frequencies say nothing new about each other.
_LEFT_OUT = ("_derivative1", "_power2", "cosine", "motion_outlier", "non_steady_state", "_sd")
_MOST = 24
_TOWARDS = "global_signal"
# nothing is transparent: it takes the colour of the page
_CORRELATION = LinearSegmentedColormap.from_list(
    "correlation",
    [(0.03, 0.44, 0.7, 1), (0.03, 0.44, 0.7, 0), (0.85, 0.4, 0.08, 0), (0.85, 0.4, 0.08, 1)],
)


def draw_confounds(path: Path, table: Path) -> None:
    """Draw the correlations of a table's columns with each other and with the global signal."""
    columns = read_confounds(table)
    names = list(columns)
    matrix = (
        _correlation(np.stack([columns[name] for name in names])) if names else np.zeros((0, 0))
    )
    size = max(len(names), 4)
    cell = min(0.34, 5.5 / size)  # inches
    side = cell * size + 2.0
    with style.svg_figure(path, 10, side) as figure:
        ax = figure.add_axes((0.175, 1.75 / side, 0.1 * cell * size, cell * size / side))
        lower = np.where(np.tri(len(names), k=-1, dtype=bool), matrix, np.nan)
        ax.pcolormesh(
            lower, cmap=_CORRELATION, vmin=-1, vmax=1, edgecolors=style.GRID, linewidth=0.8
        )
        for row, column in zip(*np.nonzero(np.abs(np.nan_to_num(lower)) >= 0.3), strict=True):
            # weaker ones are mostly chance
            ax.text(
                column + 0.5, row + 0.5, f"{lower[row, column]:.1f}".replace("0.", "."),
                ha="center", va="center", size=7, color=style.INK,
            )  # fmt: skip
        ticks = np.arange(len(names)) + 0.5
        ax.set(xlim=(0, size), ylim=(size, 0))
        ax.set_xticks(ticks, names, rotation=90)
        ax.set_yticks(ticks, names)
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
        if _TOWARDS in names:
            others = [name for name in names if name != _TOWARDS]
            with_global = matrix[names.index(_TOWARDS), [names.index(name) for name in others]]
            order = np.argsort(-np.abs(np.nan_to_num(with_global)), kind="stable")[:14]
            bars = figure.add_axes((0.86, 1.75 / side, 0.13, cell * size / side))
            colors = [style.AXES[1][1] if with_global[i] > 0 else style.AXES[0][1] for i in order]
            bars.barh(np.arange(len(order)), np.abs(with_global[order]), color=colors, height=0.62)
            bars.set_yticks(np.arange(len(order)), [others[i] for i in order])
            ylim = (len(order) - 0.4, -0.6)
            bars.set(title="|r| with global_signal", xlim=(0, 1), ylim=ylim)
            bars.grid(visible=False, axis="y")


def read_confounds(path: Path) -> dict[str, Float64]:
    """Read the columns of a table that are worth comparing: numbers that vary."""
    try:
        table = read_columns(path)
    except (OSError, ValueError) as error:
        raise InputError(path, "this table cannot be read", AGAIN) from error
    columns: dict[str, Float64] = {}
    for name, values in table.items():
        finite = values[np.isfinite(values)]
        varies = len(finite) > 2 and finite.std() > 0
        if varies and len(columns) < _MOST and not any(part in name for part in _LEFT_OUT):
            columns[name] = values
    return columns


def _correlation(rows: Float64) -> Float64:
    """Correlate rows ``(N, T)`` over the frames that all of them have."""
    complete = rows[:, np.isfinite(rows).all(axis=0)]
    if complete.shape[1] < 3:
        return np.zeros((len(rows), len(rows)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(np.atleast_2d(np.corrcoef(complete)))

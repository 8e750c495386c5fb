"""Figures of all voxels, or all slices, at all times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.colors import Colormap

from unimo_bids.reports.figures import style
from unimo_bids.reports.record import RunRecord
from unimo_bids.reports.survey import Survey, change_per_cent

Float32 = npt.NDArray[np.float32]

# nearly as many as the page has pixels for them
_COLUMNS = 680


def draw_carpet(path: Path, record: RunRecord, before: Survey, after: Survey) -> None:
    """Draw the signal of voxels before and after, in per cent of their own level."""
    changes = [change_per_cent(survey.voxels, detrend=True) for survey in (before, after)]
    # what is left after correction fills the scale; motion before may well exceed it
    spread = 1.4826 * float(np.median(np.abs(changes[1])))
    _draw(path, record, changes, max(3 * spread, 0.5), colormaps["gray"], "voxels, edge to core")


def draw_slices(path: Path, record: RunRecord, before: Survey, after: Survey) -> None:
    """Draw the mean of each slice before and after, in per cent of its own level."""
    seen = np.isfinite(before.slices).all(axis=1) & np.isfinite(after.slices).all(axis=1)
    # slice 0 at the bottom
    changes = [change_per_cent(survey.slices[seen])[::-1] for survey in (before, after)]
    limit = max(float(np.percentile(np.abs(changes[0]), 98)), 0.5) if seen.any() else 1.0
    numbers = np.flatnonzero(seen)
    name = f"slices {numbers[0]} to {numbers[-1]}" if len(numbers) else "slices"
    _draw(path, record, changes, limit, style.CHANGE, name)


def _draw(
    path: Path, record: RunRecord, changes: list[Float32], limit: float, cmap: Colormap, rows: str
) -> None:
    frames = len(record.status)
    with style.svg_figure(path, 10, 5.2) as figure:
        grid = figure.add_gridspec(
            3, 2, width_ratios=(1, 0.011), height_ratios=(0.55, 2, 2),
            left=0.062, right=0.955, top=0.965, bottom=0.085, hspace=0.12, wspace=0.018,
        )  # fmt: skip
        top = figure.add_subplot(grid[0, 0])
        for values, color in ((record.fd_before, style.BEFORE), (record.fd_after, style.AFTER)):
            top.plot(np.arange(frames), values, color=color, lw=1)
        style.threshold(top, record.fd_threshold)
        style.shade_uncorrected(top, record)
        style.frames_axis(top, frames)
        top.set(ylabel="FD, mm")
        top.set_ylim(bottom=0)
        axes = [figure.add_subplot(grid[row, 0], sharex=top) for row in (1, 2)]
        for ax, name, values in zip(axes, ("before", "after"), changes, strict=True):
            ax.imshow(
                _thinned(values), cmap=cmap, vmin=-limit, vmax=limit, aspect="auto",
                interpolation="none", extent=(-0.5, frames - 0.5, 0, 1),
            )  # fmt: skip
            ax.set(yticks=[])
            ax.set_ylabel(f"{name}\n{rows}")
            ax.grid(visible=False)
            ax.spines[:].set_visible(False)
        axes[0].tick_params(labelbottom=False)
        top.tick_params(labelbottom=False)
        axes[1].set_xlabel("frame", loc="left", labelpad=2)
        bar = style.color_bar(figure.add_subplot(grid[1:, 1]), (-limit, limit), cmap)
        bar.set_label("change, %", labelpad=1)
        figure.align_ylabels([top, *axes])


def _thinned(values: Float32) -> Float32:
    """Take the mean of neighbouring frames where there are more than can be seen."""
    frames = values.shape[1]
    if frames <= _COLUMNS:
        return values
    starts = np.linspace(0, frames, _COLUMNS, endpoint=False).astype(int)
    lengths = np.diff(np.append(starts, frames))
    return np.asarray(np.add.reduceat(values, starts, axis=1) / lengths, dtype=np.float32)

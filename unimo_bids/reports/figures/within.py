"""Motion within frames: how far slices are apart, where each was, and a frame made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from unimo_bids.files.mapped import open_series
from unimo_bids.reports.figures import style
from unimo_bids.reports.figures.traces import curve
from unimo_bids.reports.figures.views import View, to_bytes
from unimo_bids.reports.record import Array, RunRecord

_POINTS = 2000  # of a curve, at most: two to each pixel


def draw_within(
    path: Path, record: RunRecord, boldref: Array, view: View, window: tuple[float, float]
) -> None:
    """Draw the trajectory through slices, coverage, and the frame that moved most."""
    slices = record.slices
    assert slices is not None
    frames = len(record.status)
    with style.svg_figure(path, 10, 7.2) as figure:
        grid = figure.add_gridspec(
            4, 3, height_ratios=(2.4, 1.5, 1.1, 3.2), left=0.062, right=0.995, top=0.955,
            bottom=0.02, hspace=0.55, wspace=0.05,
        )  # fmt: skip
        way, within, covered = (figure.add_subplot(grid[row, :]) for row in range(3))
        order = np.argsort(slices.times, kind="stable")
        order = order[:: max(1, frames * len(order) // _POINTS)]
        # where it was in its frame: -½ … ½ about the middle of that
        at = np.arange(frames)[:, None] + (np.arange(len(order)) + 0.5) / len(order) - 0.5
        center = np.append(np.asarray(record.center), 1)
        moved = (slices.poses[:, order] @ center)[..., :3] - center[:3]
        for axis, (name, color) in enumerate(style.AXES):
            way.plot(at.ravel(), moved[..., axis].ravel(), color=color, lw=1, label=name)
        way.set(title="Translation of the brain's centre in every slice, mm")
        style.legend(way, 3)
        # as bars, a thousand frames would be most of the page
        curve(within, np.asarray(slices.within_max), style.AXES[0][1])
        within.set(title="Largest displacement between two slices of a frame, mm")
        curve(covered, 100 * np.asarray(record.coverage), style.AXES[2][1])
        covered.set(title="Brain that slices came near to, per cent", ylim=(0, 105))
        for ax in (way, within, covered):
            style.frames_axis(ax, frames, labelled=ax is covered)
        worst = int(np.argmax(slices.within_max))
        _draw_frame(figure, grid, record, worst, boldref, view, window)


def _draw_frame(
    figure: Figure,
    grid: GridSpec,
    record: RunRecord,
    frame: int,
    boldref: Array,
    view: View,
    window: tuple[float, float],
) -> None:
    """Show a frame as acquired, the same frame made from its slices, and the template."""
    slices = record.slices
    assert slices is not None
    # a cut across slices: there the teeth of a torn frame show
    through = int(view.orientation[slices.axis, 0])
    plane = (0, 2, 1) if through == 2 else (0, 1, 2)
    raw = open_series(record.original).frame(frame)
    made = _frame(record.corrected, frame)
    titles = (f"Frame {frame} as acquired", "made from its slices", "template")
    for column, (title, volume) in enumerate(zip(titles, (raw, made, boldref), strict=True)):
        ax = figure.add_subplot(grid[3, column])
        width, height = view.extent(plane)
        cut = to_bytes(view.cut(view.canonical(volume), plane), window)
        ax.imshow(cut, cmap="gray", vmin=0, vmax=255, extent=(0, width, 0, height))
        style.no_axis(ax)
        ax.set_title(title)


def _frame(path: Path, frame: int) -> Array:
    image: Any = nib.load(path)
    return np.nan_to_num(np.asarray(image.dataobj[..., frame], dtype=np.float32))

"""Distortion that bent the head: where in the brain, how sure, and how far in every frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from matplotlib.figure import Figure

from unimo_bids.reports.figures import style
from unimo_bids.reports.figures.images import Bool, painted, show
from unimo_bids.reports.figures.views import PLANES, View, side_by_side
from unimo_bids.reports.record import BendingRecord, RunRecord

_CUTS = 3  # of each plane
_SHARE = 0.68  # of the width, for the cuts


def draw_bending(path: Path, record: RunRecord, mask: Bool, view: View) -> None:
    """Draw displacements in the brain, the evidence for them, and their size in every frame."""
    bending = record.bending
    assert bending is not None
    image: Any = nib.load(bending.displacement)
    shift = np.asarray(image.dataobj, dtype=np.float32)
    top = max(float(np.abs(shift[mask]).max(initial=0)), 0.1)
    inside = view.canonical(mask).astype(bool)
    rows = [
        side_by_side(
            [
                painted(shift, mask, view, plane, place, style.CHANGE, (-top, top))
                for place in view.indices(plane, inside, _CUTS)
            ],
            4,
        )
        for plane in PLANES
    ]
    heights = [10 * _SHARE * row.shape[0] / row.shape[1] for row in rows]
    cuts, height = sum(heights), sum(heights) + 2.1
    with style.svg_figure(path, 10, height) as figure:
        at = height
        for row, tall in zip(rows, heights, strict=True):
            at -= tall
            show(figure.add_axes((0, at / height, _SHARE, (tall - 0.03) / height)), row)
        bar = figure.add_axes((_SHARE + 0.015, at / height, 0.012, (cuts - 0.03) / height))
        style.color_bar(bar, (-top, top), style.CHANGE, f"mm along {bending.axis}")
        _draw_axes(figure, bending, (0.82, (at + 0.35) / height, 0.17, (cuts - 0.75) / height))
        ax = figure.add_axes((0.062, 0.42 / height, 0.933, 1.2 / height))
        frames = np.arange(len(bending.mean))
        for values, color, name in (
            (bending.largest, style.BEFORE, "largest"),
            (bending.mean, style.AFTER, "mean"),
        ):
            ax.plot(frames, values, color=color, label=name)
        ax.set(title="How far the brain was bent in each frame, mm", ylim=(0, None))
        style.legend(ax, 2)
        style.shade_uncorrected(ax, record)
        style.frames_axis(ax, len(frames), labelled=True)


def _draw_axes(
    figure: Figure, bending: BendingRecord, place: tuple[float, float, float, float]
) -> None:
    """Draw how much a field along each axis explains; the phase-encode axis is filled."""
    ax = figure.add_axes(place)
    names = sorted(bending.less)
    for number, name in enumerate(names):
        mine = name == bending.axis
        ax.bar(
            number, 100 * bending.less[name], width=0.6, edgecolor=style.AFTER,
            color=style.AFTER if mine else "none", lw=1.2,
        )  # fmt: skip
    ax.grid(visible=False, axis="x")
    several = len(names) > 1  # compared after a step; one alone is of a whole field
    title = "Less left after\na first step, %" if several else "Less left, %"
    ax.set(title=title, xlim=(-0.6, len(names) - 0.4))
    ax.set_xticks(range(len(names)), names)

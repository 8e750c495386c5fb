"""Tracking beside refinement: where the head was expected, and how far from there it was found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from unimo_bids.reports.figures import style
from unimo_bids.reports.figures.traces import curve, three_traces
from unimo_bids.reports.record import Array, RunRecord, TrackRecord

# root mean square of six numbers that are 1 on average: 19 of 20 are less (chi square, 6 degrees)
_SURPRISING = 1.45
_WIDE = 1.96  # standard deviations, 95 per cent


def draw_tracking(path: Path, record: RunRecord, track: TrackRecord) -> None:
    """Draw how far refined poses are from tracked and, where these are known, expected ones."""
    expected = track.parameters is not None
    panels = 4 if expected else 1
    height = (3, 3, 1.9, 1.9) if expected else (3,)
    with style.svg_figure(path, 10, 8.2 if expected else 2.6) as figure:
        axes = figure.subplots(panels + 1, 1, sharex=True, height_ratios=(*height, 0.22))
        top, bottom = (0.965, 0.06) if expected else (0.89, 0.18)
        figure.subplots_adjust(left=0.062, right=0.995, top=top, bottom=bottom, hspace=0.36)
        if track.parameters is not None and track.deviations is not None:
            degrees = np.array([1.0] * 3 + [180 / np.pi] * 3)
            three = [one * degrees for one in (record.parameters, track.parameters)]
            wide = _WIDE * track.deviations * degrees
            titles = "Translation, mm: refined, and expected", "Rotation, degrees"
            for ax, title, part in zip(axes, titles, (slice(3), slice(3, 6)), strict=False):
                three_traces(ax, three[0][:, part], three[1][:, part], wide[:, part])
                ax.set(title=title)
            style.legend(axes[0], 3)
            _draw_surprise(axes[2], np.asarray(track.surprise))
        _draw_distance(axes[panels - 1], np.asarray(track.apart))
        unregistered = np.isin(np.asarray(record.status), ("bridged", "lost"))
        for ax in axes[:panels]:
            style.shade(ax, unregistered, style.STATUS["lost"])
        style.status_strip(axes[-1], record)


def _draw_surprise(ax: Axes, surprise: Array) -> None:
    curve(ax, surprise, style.AFTER)
    style.threshold(ax, _SURPRISING)
    top = max(2 * _SURPRISING, 1.08 * float(np.nanmax(surprise, initial=0)))
    ax.set(title="Surprise, standard deviations", ylim=(0, top))


def _draw_distance(ax: Axes, apart: Array) -> None:
    curve(ax, apart, style.AXES[2][1])
    top = 1.08 * max(0.5, float(np.nanmax(apart, initial=0)))
    ax.set(title="From the tracked to the refined pose, mm", ylim=(0, top))

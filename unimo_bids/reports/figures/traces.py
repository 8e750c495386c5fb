"""Figures over time: motion, framewise displacement, similarity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from unimo_bids.reports.figures import style
from unimo_bids.reports.record import Array, RunRecord

_BINS = 300  # of frames that a page has room for: three pixels each


def draw_motion(path: Path, record: RunRecord) -> None:
    """Draw six motion traces with their uncertainty, and displacement from frame to frame."""
    with style.svg_figure(path, 10, 6.3) as figure:
        axes = figure.subplots(4, 1, sharex=True, height_ratios=(3, 3, 2.6, 0.22))
        figure.subplots_adjust(left=0.062, right=0.995, top=0.955, bottom=0.075, hspace=0.33)
        shift, shift_sd = record.parameters[:, :3], record.deviations[:, :3]
        three_traces(axes[0], shift, shift, 2 * shift_sd)
        axes[0].set(title="Translation of the brain's centre, mm")
        turn, turn_sd = (np.rad2deg(part[:, 3:]) for part in (record.parameters, record.deviations))
        three_traces(axes[1], turn, turn, 2 * turn_sd)
        axes[1].set(title="Rotation about the brain's centre, degrees")
        style.legend(axes[0], 3)
        _displacement(axes[2], record)
        for ax in axes[:3]:
            style.shade_uncorrected(ax, record)
            style.mark_reference(ax, record)
        style.status_strip(axes[3], record)
        figure.align_ylabels(axes)


def three_traces(ax: Axes, values: Array, middle: Array, spread: Array) -> None:
    """Draw values ``(T, 3)``, and bands from ``middle - spread`` to ``middle + spread``."""
    for i, (name, color) in enumerate(style.AXES):
        ax.fill_between(*_band(middle[:, i], spread[:, i]), color=color, alpha=0.25, lw=0)
        curve(ax, values[:, i], color, name)
    # an unsure frame may have a band that would flatten everything else
    finite = values[np.isfinite(values)]
    if finite.size:
        margin = 0.15 * max(float(np.ptp(finite)), 0.05)
        ax.set_ylim(finite.min() - margin, finite.max() + margin)


def _band(values: Array, spread: Array) -> tuple[Array, Array, Array]:
    """Frames, lower and upper edge; of many frames, the extremes of each group of neighbours."""
    starts = np.arange(0, len(values), -(-len(values) // _BINS))
    lower = np.minimum.reduceat(values - spread, starts)
    upper = np.maximum.reduceat(values + spread, starts)
    ends = np.append(starts[1:], len(values)) - 1
    return (starts + ends) / 2, lower, upper


def _displacement(ax: Axes, record: RunRecord) -> None:
    before, after = np.asarray(record.fd_before), np.asarray(record.fd_after)
    curve(ax, before, style.BEFORE, "before")
    curve(ax, after, style.AFTER, "left after correction")
    style.threshold(ax, record.fd_threshold, f"threshold {record.fd_threshold:g} mm")
    top = float(np.nanmax(np.concatenate([before, after]), initial=1.5 * record.fd_threshold))
    ax.set(title="Framewise displacement, mm", ylim=(0, 1.08 * top))
    style.legend(ax, 3)


def draw_similarity(path: Path, record: RunRecord) -> None:
    """Draw how alike each frame is to the template, before and after."""
    pairs = (
        (np.asarray(record.similarity_before), style.BEFORE, "before"),
        (np.asarray(record.similarity_after), style.AFTER, "after"),
    )
    with style.svg_figure(path, 10, 2.6) as figure:
        ax, strip = figure.subplots(2, 1, sharex=True, height_ratios=(3, 0.22))
        figure.subplots_adjust(left=0.062, right=0.995, top=0.89, bottom=0.18, hspace=0.18)
        for values, color, name in pairs:
            median = float(np.nanmedian(values)) if np.isfinite(values).any() else float("nan")
            curve(ax, values, color, f"{name}, median {median:.3f}")
        style.shade_uncorrected(ax, record)
        ax.set(title="Correlation with the template")
        style.legend(ax, 2, above=0.94)
        style.status_strip(strip, record)


def curve(ax: Axes, values: Array, color: str, name: str | None = None) -> None:
    """Draw a value of every frame; single frames are marked where there are few."""
    frames = _shown_frames(values)
    # so that one between two gaps is seen
    dots: dict[str, Any] = {"marker": "o", "markersize": 2.4} if len(values) <= 60 else {}
    ax.plot(frames, values[frames], color=color, label=name, **dots)


def _shown_frames(values: Array) -> NDArray[np.intp]:
    """Frames that a curve goes through; of many, the extremes of each group of neighbours."""
    if len(values) <= 2 * _BINS:
        return np.arange(len(values))
    step = -(-len(values) // _BINS)
    padded = np.full(-(-len(values) // step) * step, np.nan)
    padded[: len(values)] = values
    bins = padded.reshape(-1, step)
    ends = [np.nan_to_num(sign * bins, nan=-np.inf).argmax(axis=1) for sign in (1, -1)]
    found = np.unique(np.stack(ends) + step * np.arange(len(bins)))
    return np.asarray(found[found < len(values)])

"""Figures over time: motion, framewise displacement, similarity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from unimo_bids.reports.figures import style
from unimo_bids.reports.record import Array, RunRecord

# of a band: half as many as the page has pixels for it
_EDGES = 450


def draw_motion(path: Path, record: RunRecord) -> None:
    """Draw six motion traces with their uncertainty, and displacement from frame to frame."""
    frames = len(record.status)
    with style.svg_figure(path, 10, 6.3) as figure:
        axes = figure.subplots(4, 1, sharex=True, height_ratios=(3, 3, 2.6, 0.22))
        figure.subplots_adjust(left=0.062, right=0.995, top=0.955, bottom=0.075, hspace=0.33)
        _three(axes[0], record.parameters[:, :3], record.deviations[:, :3])
        axes[0].set(title="Translation of the brain's centre, mm")
        _three(axes[1], np.rad2deg(record.parameters[:, 3:]), np.rad2deg(record.deviations[:, 3:]))
        axes[1].set(title="Rotation about the brain's centre, degrees")
        axes[0].legend(loc="lower right", ncols=3, bbox_to_anchor=(1.005, 0.97), handlelength=1.4)
        _displacement(axes[2], record)
        for ax in axes[:3]:
            style.shade(ax, np.asarray(record.censored), style.CENSORED)
            ax.axvline(record.reference, color=style.QUIET, lw=0.9, ls=(0, (1, 2)), zorder=0.6)
        style.status_strip(axes[3], record.status, np.asarray(record.censored))
        style.frames_axis(axes[3], frames)
        axes[3].set_xlabel("frame", loc="left", labelpad=2)
        figure.align_ylabels(axes)


def _three(ax: Axes, values: Array, deviations: Array) -> None:
    three_traces(ax, values, values, 2 * deviations)


def three_traces(ax: Axes, values: Array, middle: Array, spread: Array) -> None:
    """Draw values ``(T, 3)``, and bands about a middle as wide as the spread on either side."""
    frames = np.arange(len(values))
    for i, (name, color) in enumerate(style.AXES):
        ax.fill_between(*_band(middle[:, i], spread[:, i]), color=color, alpha=0.25, lw=0)
        ax.plot(frames, values[:, i], color=color, label=name, **dots(len(values)))
    # an unsure frame may have a band that would flatten everything else
    finite = values[np.isfinite(values)]
    if finite.size:
        margin = 0.15 * max(float(np.ptp(finite)), 0.05)
        ax.set_ylim(finite.min() - margin, finite.max() + margin)


def _band(values: Array, spread: Array) -> tuple[Array, Array, Array]:
    """Frames, lower and upper edge; the outermost of neighbours where there are too many to see."""
    starts = np.arange(0, len(values), -(-len(values) // _EDGES))
    lower = np.minimum.reduceat(values - spread, starts)
    upper = np.maximum.reduceat(values + spread, starts)
    ends = np.append(starts[1:], len(values)) - 1
    return (starts + ends) / 2, lower, upper


def _displacement(ax: Axes, record: RunRecord) -> None:
    frames = np.arange(len(record.status))
    before, after = np.asarray(record.fd_before), np.asarray(record.fd_after)
    ax.plot(frames, before, color=style.BEFORE, label="before", **dots(len(frames)))
    ax.plot(frames, after, color=style.AFTER, label="left after correction", **dots(len(frames)))
    ax.axhline(record.fd_threshold, color=style.THRESHOLD, lw=1, ls=(0, (5, 3)),
               label=f"threshold {record.fd_threshold:g} mm")  # fmt: skip
    top = float(np.nanmax(np.concatenate([before, after]), initial=1.5 * record.fd_threshold))
    ax.set(title="Framewise displacement, mm", ylim=(0, 1.08 * top))
    ax.legend(loc="lower right", ncols=3, bbox_to_anchor=(1.005, 0.96), handlelength=1.6)


def draw_similarity(path: Path, record: RunRecord) -> None:
    """Draw how alike each frame is to the template, before and after."""
    frames = np.arange(len(record.status))
    pairs = (
        (np.asarray(record.similarity_before), style.BEFORE, "before"),
        (np.asarray(record.similarity_after), style.AFTER, "after"),
    )
    with style.svg_figure(path, 10, 2.6) as figure:
        ax, strip = figure.subplots(2, 1, sharex=True, height_ratios=(3, 0.22))
        figure.subplots_adjust(left=0.062, right=0.995, top=0.89, bottom=0.18, hspace=0.18)
        for values, color, name in pairs:
            median = float(np.nanmedian(values)) if np.isfinite(values).any() else float("nan")
            label = f"{name}, median {median:.3f}"
            ax.plot(frames, values, color=color, label=label, **dots(len(frames)))
        style.shade(ax, np.asarray(record.censored), style.CENSORED)
        ax.set(title="Correlation with the template")
        ax.legend(loc="lower right", ncols=2, bbox_to_anchor=(1.005, 0.94), handlelength=1.4)
        style.status_strip(strip, record.status, np.asarray(record.censored))
        style.frames_axis(strip, len(frames))
        strip.set_xlabel("frame", loc="left", labelpad=2)


def dots(frames: int) -> dict[str, Any]:
    """Mark single frames where there are few, so that one between two gaps is seen."""
    return {"marker": "o", "markersize": 2.4} if frames <= 60 else {}

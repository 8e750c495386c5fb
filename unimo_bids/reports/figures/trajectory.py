"""The way of the head: where its centre went, how far it turned."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from mpl_toolkits.mplot3d.art3d import Line3DCollection
from mpl_toolkits.mplot3d.axes3d import Axes3D

from unimo_bids.reports.figures import style
from unimo_bids.reports.figures.views import evenly
from unimo_bids.reports.record import Array, RunRecord

# more are not told apart, and each is a line of its own in the file
_COLOURS = 100


def draw_trajectory(path: Path, record: RunRecord) -> None:
    """Draw the path of the brain's centre in space, and the angle of rotation over time."""
    center, poses = np.asarray(record.center), np.asarray(record.poses)
    way = poses[:, :3, :3] @ center + poses[:, :3, 3] - center
    # the angle of a rotation R: tr R = 1 + 2 cos θ
    cosine = (np.trace(poses[:, :3, :3], axis1=1, axis2=2) - 1) / 2
    angle = np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))
    frames = np.arange(len(poses))
    span = (0.0, max(len(poses) - 1.0, 1.0))
    norm = Normalize(*span)
    with style.svg_figure(path, 10, 4.3) as figure:
        space = figure.add_axes((-0.01, 0.0, 0.5, 1.06), projection="3d")
        assert isinstance(space, Axes3D)
        _draw_way(space, way, norm)
        ax = figure.add_axes((0.56, 0.2, 0.435, 0.66))
        pieces, times = _pieces(np.stack([frames, angle], axis=1))
        ax.add_collection(
            LineCollection(pieces, array=times, cmap=style.TIME, norm=norm, linewidths=1.5)
        )
        style.shade_uncorrected(ax, record)
        style.frames_axis(ax, len(poses), labelled=True)
        top = float(np.nanmax(angle, initial=0.1))
        ax.set(title="Angle from the reference, degrees", ylim=(-0.03 * top, 1.08 * top))
        bar = figure.add_axes((0.56, 0.075, 0.435, 0.028))
        style.color_bar(bar, span, style.TIME, orientation="horizontal")
        bar.set(xticks=[])


def _pieces(points: Array) -> tuple[list[Array], Array]:
    """Cut a line ``(T, n)`` into pieces of one colour each, and give the last frame of each."""
    ends = evenly(len(points), _COLOURS + 1)
    cuts = itertools.pairwise(ends)
    return [points[start : end + 1] for start, end in cuts], ends[1:].astype(float)


def _draw_way(ax: Axes3D, way: Array, norm: Normalize) -> None:
    finite = way[np.isfinite(way).all(axis=1)]
    middle = (finite.min(axis=0) + finite.max(axis=0)) / 2 if len(finite) else np.zeros(3)
    # one scale on all axes, or the path would be bent
    half = 0.55 * max(float(np.ptp(finite, axis=0).max()) if len(finite) else 0.0, 0.5)
    low, high = middle - half, middle + half
    walls = (low[0], high[1], low[2])  # the three that are seen from where one looks
    for axis in range(3):
        shadow = way.copy()
        shadow[:, axis] = walls[axis]
        ax.plot(*shadow.T, color=style.LINE, lw=0.7)
    pieces, times = _pieces(way)
    ax.add_collection(
        Line3DCollection(pieces, array=times, cmap=style.TIME, norm=norm, linewidths=1.3)
    )
    for end, name in ((0, "start"), (-1, "end")):
        if np.isfinite(way[end]).all():
            color = style.TIME(0.0 if end == 0 else 1.0)
            ax.scatter(*way[end], color=color, s=26, depthshade=False)
            ax.text(*way[end], f"   {name}", color=style.INK, fontsize=8.5)
    for axis, letter, sides in zip(
        (ax.xaxis, ax.yaxis, ax.zaxis), "xyz", ("left – right", "back – front", "down – up"),
        strict=True,
    ):  # fmt: skip
        axis.set_pane_color((0, 0, 0, 0))
        axis.line.set_color(style.LINE)
        axis.get_major_locator().set_params(nbins=5)
        getattr(ax, f"set_{letter}label")(f"{letter}, mm ({sides})", color=style.QUIET)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    ax.set_box_aspect((1, 1, 1), zoom=0.9)
    ax.view_init(elev=22, azim=-56)

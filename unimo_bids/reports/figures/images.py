"""Figures of volumes: masks on the template and on frames, and what correction did to the tSNR."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from contourpy import contour_generator
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from unimo_bids.files.series import Series
from unimo_bids.reports.figures import style
from unimo_bids.reports.figures.views import (
    PLANES,
    Plane,
    View,
    enlarged,
    evenly,
    side_by_side,
    to_bytes,
    view_around,
)
from unimo_bids.reports.record import Array, RunRecord

Bytes = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]

# a row is as wide as the page shows it, 1024 pixels
_CUTS, _CUT_PIXELS = 7, 146
# where the soft mask is nearly nothing and nearly everything, of 255
_SOFT_LEVELS = (25.5, 229.5)
_GAP = 2
_FRAMES, _FRAME_PIXELS = 12, 85


def draw_brain(
    path: Path,
    boldref: Array,
    mask: Bool,
    probability: Array,
    view: View,
    window: tuple[float, float],
) -> None:
    """Draw a mosaic of the template, a row for each plane, with the outline of the mask."""
    template, soft = view.canonical(boldref), view.canonical(probability)
    inside = view.canonical(mask).astype(bool)
    rows, edges = [], []
    for plane in PLANES:
        places = view.indices(plane, inside, _CUTS)
        rows.append(cuts_in_row(template, view, plane, places, window))
        edges.append(tuple(cuts_in_row(of, view, plane, places, (0, 1)) for of in (soft, inside)))
    heights = [row.shape[0] for row in rows]
    width = 10.0
    height = width * (sum(heights) + _GAP * (len(rows) - 1)) / rows[0].shape[1]
    with style.svg_figure(path, width, height) as figure:
        axes = figure.subplots(len(rows), 1, height_ratios=heights)
        figure.subplots_adjust(
            left=0, right=1, bottom=0, top=1, hspace=_GAP * len(rows) / sum(heights)
        )
        for ax, row, (soft_row, mask_row) in zip(axes, rows, edges, strict=True):
            show(ax, row)
            for level in _SOFT_LEVELS:
                outline(ax, soft_row, level, style.SOFT, 0.55)
            outline(ax, mask_row, 127.5, style.OUTLINE, 1.5)


def cuts_in_row(
    volume: npt.NDArray[np.generic],
    view: View,
    plane: Plane,
    places: list[int],
    window: tuple[float, float],
) -> Bytes:
    """Set cuts side by side; all are as wide, whatever the plane."""
    extent = view.extent(plane)
    cuts = (to_bytes(view.cut(volume, plane, place), window) for place in places)
    return side_by_side([enlarged(cut, extent, extent[0] / _CUT_PIXELS) for cut in cuts], _GAP)


def show(ax: Axes, image: npt.NDArray[np.generic]) -> None:
    """Show bytes as they are, in all of the axes."""
    ax.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="none", aspect="auto")
    style.no_axis(ax)


def outline(ax: Axes, image: Bytes, level: float, color: str, width: float) -> None:
    """Draw where an image crosses a level; lines are simplified, where contours are not."""
    for line in contour_generator(z=image).lines(level):
        ax.plot(*np.asarray(line).T, color=color, lw=width, scalex=False, scaley=False)


def draw_masks(
    path: Path,
    record: RunRecord,
    series: Series,
    masks: npt.NDArray[Any],
    window: tuple[float, float],
) -> None:
    """Draw raw frames with the outlines of their own masks, and the volume of every mask.

    Masks are ``(X, Y, Z, T)`` within 0 … 1; the window is that of the intensities shown.
    """
    frames = masks.shape[3]
    shown = evenly(frames, _FRAMES)
    inside = [masks[..., t] > 0.5 for t in shown]
    # one part of space in all pictures: so the way of the head is seen
    view = view_around(np.any(inside, axis=0), series.affine)
    pairs = [
        (view.canonical(series.frame(t)), view.canonical(mask).astype(bool))
        for t, mask in zip(shown, inside, strict=True)
    ]
    wide = 10 / _FRAMES  # inches of a picture, however few there are
    heights = [wide * view.extent(plane)[1] / view.extent(plane)[0] for plane in PLANES]
    height = 2.4 + sum(heights)
    with style.svg_figure(path, 10, height) as figure:
        top = height - 0.2
        for plane, row_height in zip(PLANES, heights, strict=True):
            top -= row_height + 0.02
            place = (0, top / height, len(shown) / _FRAMES, row_height / height)
            _outlined(figure.add_axes(place), view, plane, pairs, window)
        for number, t in enumerate(shown):
            figure.text(
                (number + 0.5) / _FRAMES, 1 - 0.15 / height, f"frame {t}" if number == 0 else t,
                ha="center", va="bottom", color=style.QUIET, size=8.5,
            )  # fmt: skip
        ax = figure.add_axes((0.062, 0.42 / height, 0.933, 1.35 / height))
        voxel_ml = abs(float(np.linalg.det(series.affine[:3, :3]))) / 1000
        volumes = voxel_ml * np.array([(masks[..., t] > 0.5).sum() for t in range(frames)])
        ax.plot(np.arange(frames), volumes, color=style.INK)
        ax.plot(shown, volumes[shown], "o", color=style.INK, markersize=3)
        style.shade_uncorrected(ax, record)
        style.mark_reference(ax, record)
        ax.set(title="Volume of the masks, ml", ylim=(0, 1.12 * volumes.max()))
        style.frames_axis(ax, frames, labelled=True)


def _outlined(
    ax: Axes,
    view: View,
    plane: Plane,
    pairs: list[tuple[npt.NDArray[np.generic], Bool]],
    window: tuple[float, float],
) -> None:
    """Show a row of frames, each cut through the middle of its mask."""
    extent, pictures, edges = view.extent(plane), [], []
    for frame, mask in pairs:
        (index,) = view.indices(plane, mask, 1)
        cuts = (view.cut(frame, plane, index), window), (view.cut(mask, plane, index), (0.0, 1.0))
        picture, edge = (
            enlarged(to_bytes(cut, within), extent, extent[0] / _FRAME_PIXELS)
            for cut, within in cuts
        )
        pictures.append(picture)
        edges.append(edge)
    show(ax, side_by_side(pictures, _GAP))
    outline(ax, side_by_side(edges, _GAP), 127.5, style.OUTLINE, 1.0)


def draw_tsnr(path: Path, before: Array, after: Array, mask: Bool, view: View) -> None:
    """Draw tSNR before, after and their difference, and how often each value occurs."""
    inside = mask if mask.any() else np.ones_like(mask)
    values = [volume[inside] for volume in (before, after)]
    top = max(float(np.percentile(np.concatenate(values), 99)), 1.0)
    change = max(float(np.percentile(np.abs(values[1] - values[0]), 98)), 1.0)
    rows = (
        ("before", before, colormaps["viridis"], (0.0, top)),
        ("after", after, colormaps["viridis"], (0.0, top)),
        ("difference", after - before, style.CHANGE, (-change, change)),
    )
    canonical_mask = view.canonical(inside).astype(bool)
    axial, coronal, sagittal = PLANES
    places = [
        *((axial, place) for place in view.indices(axial, canonical_mask, 3)),
        (coronal, view.middle[1]),
        (sagittal, view.middle[0]),
    ]
    images = [
        side_by_side(
            [painted(volume, inside, view, plane, place, cmap, limits) for plane, place in places],
            4,
        )
        for _, volume, cmap, limits in rows
    ]
    share = 0.65  # of the width, for the images; the rest is for the histogram
    height = 3 * 10 * share * images[0].shape[0] / images[0].shape[1] + 0.3
    with style.svg_figure(path, 10, height) as figure:
        grid = figure.add_gridspec(
            3, 3, width_ratios=(share, 0.011, 0.24), left=0.062, right=0.995,
            top=0.985, bottom=0.03, hspace=0.05, wspace=0.02,
        )  # fmt: skip
        for number, ((name, _, cmap, limits), image) in enumerate(zip(rows, images, strict=True)):
            ax = figure.add_subplot(grid[number, 0])
            show(ax, image)
            ax.set_ylabel(name, color=style.QUIET)
            style.color_bar(figure.add_subplot(grid[number, 1]), limits, cmap)
        _histogram(figure, grid[:, 2].get_position(figure).bounds, values, top)


def painted(
    volume: Array,
    mask: Bool,
    view: View,
    plane: Plane,
    place: int,
    cmap: Colormap,
    limits: tuple[float, float],
) -> Bytes:
    """Cut a map in colour, black outside the mask."""
    colored = cmap(Normalize(*limits)(view.cut(view.canonical(volume), plane, place)))[..., :3]
    inside = view.cut(view.canonical(mask), plane, place).astype(bool)
    cut = np.where(inside[..., None], 255 * colored, 0).astype(np.uint8)
    extent = view.extent(plane)
    pixel_mm = view.extent(PLANES[0])[0] / 180
    channels = [enlarged(cut[..., channel], extent, pixel_mm) for channel in range(3)]
    return np.stack(channels, axis=-1)


def _histogram(
    figure: Figure, place: tuple[float, float, float, float], values: list[Array], top: float
) -> None:
    left, bottom, width, height = place
    ax = figure.add_axes((left + 0.055, bottom + 0.14, width - 0.055, height - 0.31))
    bins = np.linspace(0, top, 50)
    colors = (style.BEFORE, style.AFTER)
    for number, (given, color, name) in enumerate(
        zip(values, colors, ("before", "after"), strict=True)
    ):
        counts = np.histogram(given, bins)[0] / max(len(given), 1)
        ax.stairs(100 * counts, bins, color=color, fill=True, alpha=0.25, lw=0)
        ax.stairs(100 * counts, bins, color=color, lw=1.4)
        median = float(np.median(given))
        ax.axvline(median, color=color, lw=1.2, ls=(0, (4, 2)))
        ax.text(
            0, 1.12 - 0.065 * number, f"{name}, median {median:.1f}", color=color,
            transform=ax.transAxes, va="bottom",
        )  # fmt: skip
    ax.set(xlabel="tSNR", ylabel="% of voxels", xlim=(0, top))

"""One picture of a corrected series: what moved, how well it is known, what the correction did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from unimo_bids.reports.figures.style import AFTER, AXES, BEFORE, GRID, INK, QUIET, RC, STATUS
from unimo_bids.reports.figures.views import PLANES, view_around

Array = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Correction:
    """What the picture shows; pairs are (before, after).

    Attributes
    ----------
    parameters, deviations
        ``(T, 6)`` rad and mm, as `framewise.motion_parameters`, and their standard deviations.
    displacement
        ``(T,)`` mm, framewise.
    status
        ``(T,)`` of ok, searched, bridged, lost.
    correlation
        ``(T,)`` with the template, within the mask.
    mean, std, tsnr
        ``(X, Y, Z)``
    mask
        ``(X, Y, Z)``, 0 to 1.
    affine
        ``(4, 4)`` indices to RAS mm.
    reference
        The frame whose pose is the identity.
    """

    parameters: Array
    deviations: Array
    displacement: Array
    status: Sequence[str]
    correlation: tuple[Array, Array]
    mean: tuple[Array, Array]
    std: tuple[Array, Array]
    tsnr: tuple[Array, Array]
    mask: Array
    affine: Array
    reference: int


def write_summary(path: str | Path, title: str, subtitle: str, result: Correction) -> None:
    """Draw a correction into a PNG file."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(13.5, 8.6), dpi=130, facecolor="white")
        FigureCanvasAgg(figure)
        figure.text(0.03, 0.965, title, fontsize=13, weight="bold", va="center")
        figure.text(0.03, 0.935, subtitle, fontsize=9, color=QUIET, va="center")
        halves = figure.add_gridspec(1, 2, width_ratios=(1.08, 1), wspace=0)
        _draw_traces(figure.add_subfigure(halves[0, 0]), result)
        _draw_images(figure.add_subfigure(halves[0, 1]), result)
        with Path(path).open("wb") as file:
            figure.savefig(file, format="png", facecolor="white")


def _draw_traces(figure: SubFigure, result: Correction) -> None:
    axes = figure.subplots(4, 1, sharex=True, height_ratios=(3, 3, 2, 2))
    figure.subplots_adjust(left=0.115, right=0.965, top=0.885, bottom=0.065, hspace=0.32)
    frames = np.arange(len(result.status))
    degrees = np.rad2deg(result.parameters[:, :3])
    _draw_three(axes[0], degrees, np.rad2deg(result.deviations[:, :3]))
    axes[0].set(title="Rotation vector", ylabel="degrees")
    _draw_three(axes[1], result.parameters[:, 3:], result.deviations[:, 3:])
    axes[1].set(title="Translation of the brain's centre", ylabel="mm")
    handles, labels = axes[0].get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: labels[i][0] == "±")
    axes[0].legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="lower right",
        ncols=4,
        bbox_to_anchor=(1.01, 0.98),
        borderaxespad=0,
        handlelength=1.4,
    )

    axes[2].fill_between(frames, 0, result.displacement, color=GRID, lw=0)
    axes[2].plot(frames, result.displacement, color=INK, lw=1.1, **_marker(frames))
    axes[2].set(title="Framewise displacement", ylabel="mm")
    top = float(np.nanmax(result.displacement, initial=0.5))
    axes[2].set_ylim(0, 1.15 * top)

    for values, color, label in zip(
        result.correlation, (BEFORE, AFTER), ("before", "after"), strict=True
    ):
        axes[3].plot(frames, values, color=color, lw=1.3, label=label, **_marker(frames))
    axes[3].set(title="Correlation with the template", xlabel="frame")
    axes[3].legend(loc="lower right", ncols=2, bbox_to_anchor=(1.01, 0.97), borderaxespad=0)
    axes[3].set_xlim(-0.5, len(frames) - 0.5)
    axes[3].xaxis.get_major_locator().set_params(integer=True)
    for ax in axes:
        _shade(ax, result.status)
        ax.axvline(result.reference, color=QUIET, lw=0.8, ls=(0, (2, 3)), zorder=0.6)
    figure.align_ylabels(axes)
    _name_shades(figure, result)


def _marker(frames: npt.NDArray[np.intp]) -> dict[str, Any]:
    """Dots where there are few frames, so that a gap beside one does not hide it."""
    return {"marker": "o", "markersize": 2.6} if len(frames) <= 60 else {}


def _draw_three(ax: Axes, values: Array, deviations: Array) -> None:
    frames = np.arange(len(values))
    for i, (name, color) in enumerate(AXES):
        low, high = values[:, i] - 2 * deviations[:, i], values[:, i] + 2 * deviations[:, i]
        ax.fill_between(
            frames, low, high, color=color, alpha=0.22, lw=0, label="± 2 sd" if i == 2 else None
        )
        ax.plot(frames, values[:, i], color=color, lw=1.3, label=name, **_marker(frames))
    # an unsure frame may have a band that would flatten everything else
    finite = values[np.isfinite(values)]
    if finite.size:
        spread = max(float(np.ptp(finite)), 0.05)
        ax.set_ylim(finite.min() - 0.15 * spread, finite.max() + 0.15 * spread)


def _shade(ax: Axes, status: Sequence[str]) -> None:
    for kind, color in STATUS.items():
        for t in np.flatnonzero(np.asarray(status) == kind):
            ax.axvspan(t - 0.5, t + 0.5, color=color, alpha=0.3, lw=0, zorder=0.5)


def _name_shades(figure: SubFigure, result: Correction) -> None:
    counts = {kind: list(result.status).count(kind) for kind in STATUS}
    handles: list[Artist] = [
        Patch(color=STATUS[kind], alpha=0.4, lw=0, label=f"{kind} ({count})")
        for kind, count in counts.items()
        if count
    ]
    handles.append(
        Line2D([], [], color=QUIET, lw=0.8, ls=(0, (2, 3)), label=f"reference ({result.reference})")
    )
    figure.legend(
        handles=handles, loc="lower right", ncols=4, bbox_to_anchor=(0.97, 0.0), handlelength=1.4
    )


def _draw_images(figure: SubFigure, result: Correction) -> None:
    """Before above after, each in three planes through the middle of the brain."""
    inside = np.asarray(result.mask) > 0.5
    view = view_around(inside, result.affine, spare_mm=10)
    mask = np.asarray(view.canonical(inside), dtype=np.bool_)
    ratios = [across / up for across, up in map(view.extent, PLANES)]
    groups = figure.add_gridspec(3, 1, left=0.07, right=0.935, top=0.885, bottom=0.03, hspace=0.13)
    for number, (title, pair, cmap) in enumerate(
        (
            ("Mean over time", result.mean, "gray"),
            ("Standard deviation over time", result.std, "magma"),
            ("Temporal signal-to-noise ratio", result.tsnr, "viridis"),
        )
    ):
        volumes = [np.asarray(view.canonical(volume), dtype=np.float32) for volume in pair]
        limits = _window(volumes, mask, tissue=number == 0)
        grid = groups[number, 0].subgridspec(
            2, 4, width_ratios=[*ratios, 0.06], wspace=0.025, hspace=0.025
        )
        for row, volume in enumerate(volumes):
            for column, plane in enumerate(PLANES):
                ax = figure.add_subplot(grid[row, column])
                drawn = ax.imshow(
                    view.cut(volume, plane),
                    cmap=cmap,
                    vmin=limits[0],
                    vmax=limits[1],
                    aspect="auto",  # the panel has the plane's proportions
                    interpolation="nearest",
                )
                ax.set(xticks=[], yticks=[])
                ax.grid(visible=False)
                ax.spines[:].set_visible(False)
                if column == 0:
                    ax.set_ylabel(("before", "after")[row], color=QUIET)
                    if row == 0:
                        ax.set_title(title)
        bar = figure.add_subplot(grid[:, 3])
        bar.grid(visible=False)
        figure.colorbar(drawn, cax=bar).outline.set_visible(False)


def _window(
    volumes: Sequence[Array], mask: npt.NDArray[np.bool_], tissue: bool
) -> tuple[float, float]:
    """One window for both; the brain fills it, a few bright voxels do not decide."""
    values = np.concatenate([volume[mask] if mask.any() else volume.ravel() for volume in volumes])
    high = float(np.percentile(values, 99))
    # from well below the darkest tissue, so that grey and white matter can be told apart
    low = 0.7 * float(np.percentile(values, 1)) if tissue else 0.0
    return low, high if high > low else low + 1

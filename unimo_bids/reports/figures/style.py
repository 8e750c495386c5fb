"""How figures look: quiet, told apart by all eyes, on white paper and on dark screens."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from PIL import Image

from unimo_bids.files.staging import write_text
from unimo_bids.reports.figures import palette
from unimo_bids.reports.figures.views import runs
from unimo_bids.reports.record import RunRecord

Array = npt.NDArray[np.floating]

INK, QUIET, LINE, GRID = palette.INK, palette.QUIET, palette.LINE, palette.GRID
AXES, BEFORE, AFTER = palette.AXES, palette.BEFORE, palette.AFTER
THRESHOLD, UNCORRECTED, STATUS = palette.THRESHOLD, palette.UNCORRECTED, palette.STATUS
OUTLINE, SOFT = palette.OUTLINE, palette.SOFT
# what is drawn in the left colour appears in the right one on a dark page
_DARK = {
    INK: "#e6e8eb",
    QUIET: "#a3abb6",
    LINE: "#4a515c",
    GRID: "#2a2f37",
    AXES[0][1]: "#5ab4f0",
    AXES[1][1]: "#ff9a52",
    AXES[2][1]: "#3fcf9f",
    BEFORE: "#8f97a3",
    AFTER: "#57b0ee",
    THRESHOLD: "#ffab70",
}
_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,'DejaVu Sans',sans-serif"
RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.titlecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.labelcolor": QUIET,
    "lines.linewidth": 1.3,
    "lines.solid_joinstyle": "round",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",  # text stays text: small, searchable, in the reader's own font
    "svg.hashsalt": "unimo-bids",  # same input, same file
    "path.simplify_threshold": 0.3,  # pt: less than the width of any line
    "text.parse_math": False,  # a dollar sign in a name is no formula
}

_PICTURE = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)")
_WAY = re.compile(r' d="[^"]*"')
_LONG_NUMBER = re.compile(r"-?\d+\.\d\d+")
# where a picture has a pixel for each of the page's, nobody sees what compression leaves out
_WIDE_PIXELS, _QUALITY = 400, 50

# Middle tones only, so that both ends are seen on any page.
TIME = LinearSegmentedColormap.from_list("time", ["#2f80d6", "#8d6fc4", "#cd5f8e", "#e6762c"])
# Nothing is dark, as the background of an image is; loss is blue, gain is orange.
CHANGE = LinearSegmentedColormap.from_list(
    "change", ["#b5dcff", "#3f8fd2", "#1d3d5c", "#101216", "#5c351d", "#d27a3f", "#ffd9b5"]
)


@contextmanager
def svg_figure(path: Path, width: float, height: float, css: str = "") -> Iterator[Figure]:
    """Draw on a figure of a size in inches; the file is written if the block succeeds."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(width, height))
        FigureCanvasSVG(figure)
        yield figure
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    head, tag, body = _slimmed(buffer.getvalue()).partition("<defs>")
    write_text(path, f"{head}<style>{_theme()}{css}</style>{tag}{body}")


def _theme() -> str:
    dark = "".join(
        f'[style*="{name}: {light}"]{{{name}:{dark}!important}}'
        for light, dark in _DARK.items()
        for name in ("fill", "stroke")
    )
    return f"text{{font-family:{_FONT}!important}}@media (prefers-color-scheme:dark){{{dark}}}"


def _slimmed(svg: str) -> str:
    """Shrink an SVG without visible change: fewer decimals, WebP for PNG, no spaces."""
    plain = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return _PICTURE.sub(_as_webp, _WAY.sub(_shorter, re.sub(r">\s*\n\s*<", "><", plain)))


def _shorter(way: re.Match[str]) -> str:
    """Write a line in few characters: ``M 0 1.2345 L`` is ``M0 1.2L``."""
    rounded = _LONG_NUMBER.sub(lambda number: f"{float(number[0]):.1f}", way[0][1:])
    return " " + re.sub(r"\s*([MLCQz])\s*", r"\1", rounded)


def _as_webp(found: re.Match[str]) -> str:
    """Compress a picture; a small one without loss, as its pixels are seen one by one."""
    image = Image.open(io.BytesIO(base64.b64decode(found[1])))
    buffer = io.BytesIO()
    small = image.width < _WIDE_PIXELS
    image.save(buffer, format="WebP", lossless=small, quality=_QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def frames_axis(ax: Axes, frames: int, *, labelled: bool = False) -> None:
    """Set the horizontal axis to the frames of a series."""
    ax.set_xlim(-0.5, frames - 0.5)
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    if labelled:
        ax.set_xlabel("frame", loc="left", labelpad=2)


def legend(ax: Axes, ncols: int, above: float = 0.97) -> None:
    """Put a legend above an axis, on the right; `above` in heights of the axis."""
    ax.legend(loc="lower right", ncols=ncols, bbox_to_anchor=(1.005, above), handlelength=1.4)


def threshold(ax: Axes, value: float, label: str | None = None) -> None:
    """Draw a threshold as a dashed line."""
    ax.axhline(value, color=THRESHOLD, lw=1, ls=(0, (5, 3)), label=label)


def mark_reference(ax: Axes, record: RunRecord) -> None:
    """Draw a dotted line at the reference frame."""
    ax.axvline(record.reference, color=QUIET, lw=0.9, ls=(0, (1, 2)), zorder=0.6)


def shade_uncorrected(ax: Axes, record: RunRecord) -> None:
    """Shade the frames whose motion correction could not undo."""
    shade(ax, np.asarray(record.uncorrected), UNCORRECTED)


def shade(ax: Axes, frames: npt.NDArray[np.bool_], color: str, alpha: float = 0.17) -> None:
    """Shade the frames that are marked, neighbours as one."""
    for run in runs(frames):
        ax.axvspan(run.start - 0.5, run.stop - 0.5, color=color, alpha=alpha, lw=0, zorder=0.5)


def status_strip(ax: Axes, record: RunRecord) -> None:
    """Draw a strip that marks frames as searched, bridged, lost, or not corrected."""
    given, uncorrected = np.asarray(record.status), np.asarray(record.uncorrected)
    handles = []
    for kind, color in STATUS.items():
        found = given == kind
        if found.any():
            shade(ax, found, color, 0.9)
            handles.append(Patch(color=color, lw=0, label=f"{kind} ({found.sum()})"))
    if uncorrected.any():
        handles.append(
            Patch(color=UNCORRECTED, alpha=0.3, lw=0, label=f"not corrected ({uncorrected.sum()})")
        )
    ax.set(yticks=[], ylim=(0, 1))
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    if handles:
        ax.legend(handles=handles, loc="upper right", bbox_to_anchor=(1.005, -1.6), ncols=4)
    place: dict[str, Any] = {"transform": ax.transAxes, "ha": "right", "va": "center"}
    ax.text(-0.012, 0.5, "status", color=QUIET, size=8.5, **place)
    frames_axis(ax, len(given), labelled=True)


def color_bar(
    ax: Axes, limits: tuple[float, float], cmap: Colormap, label: str = "", **where: Any
) -> Colorbar:
    """Draw the scale of a map into axes of its own."""
    ax.grid(visible=False)
    scale = ScalarMappable(Normalize(*limits), cmap)
    bar = ax.figure.colorbar(scale, cax=ax, label=label, **where)
    bar.outline.set_visible(False)
    return bar


def no_axis(ax: Axes) -> None:
    """Hide ticks, grid and frame of an axis."""
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)

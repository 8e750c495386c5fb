"""One picture of a corrected series: what moved, how well it is known, what the correction did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from unimo_bids.reports.figures.canvas import Panel, colored, font, ticks, write, write_upwards
from unimo_bids.reports.figures.palette import (
    AFTER,
    AXES,
    BEFORE,
    GRAY,
    GRID,
    INK,
    MAGMA,
    QUIET,
    STATUS,
    VIRIDIS,
)
from unimo_bids.reports.figures.views import PLANES, View, view_around

Array = npt.NDArray[np.floating]
_SIZE = (1755, 1118)
_WIDTH, _HEIGHT = 714, 144  # of three planes, and of each


@dataclass(frozen=True)
class Correction:
    """Data of the picture; pairs are (before, after).

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
    image = Image.new("RGB", _SIZE, "white")
    write(image, (52, 38), title, color=INK, size=23, bold=True)
    write(image, (52, 72), subtitle, size=16)
    _draw_traces(image, result)
    _draw_images(image, result)
    with Path(path).open("wb") as file:
        image.save(file, format="png", compress_level=3)  # the usual 6 takes 5 times as long


def _draw_traces(image: Image.Image, result: Correction) -> None:
    frames = len(result.status)
    for bounds, title, unit, rows in (
        ((129, 350), "Rotation vector", "degrees", slice(0, 3)),
        ((410, 631), "Translation of the brain's centre", "mm", slice(3, 6)),
    ):
        scale = 180 / np.pi if unit == "degrees" else 1.0
        values, spread = (
            scale * part[:, rows] for part in (result.parameters, 2 * result.deviations)
        )
        # an unsure frame may have a band that would flatten everything else
        low, high = _range(values, least=0.05)
        margin = 0.15 * (high - low)
        panel = _Trace(image, bounds, (low - margin, high + margin), title, unit, result)
        for i, (_, color) in enumerate(AXES):
            middle, width = values[:, i], spread[:, i]
            panel.area.band(panel.frames, middle - width, middle + width, color, 0.22)
        for i, (_, color) in enumerate(AXES):
            panel.area.curve(panel.frames, values[:, i], color)
        panel.finish()
    _name(image, 117, [*((name, color, 1.0) for name, color in AXES), ("± 2 sd", AXES[2][1], 0.22)])

    top = float(np.nanmax(result.displacement, initial=0.5))
    panel = _Trace(image, (690, 838), (0, 1.15 * top), "Framewise displacement", "mm", result)
    panel.area.band(panel.frames, np.zeros(frames), result.displacement, GRID, 1.0)
    panel.area.curve(panel.frames, result.displacement, INK, 2.0)
    panel.finish()

    low, high = _range(np.stack(result.correlation), least=0.001)
    margin = 0.05 * (high - low)
    bounds, title = (897, 1045), "Correlation with the template"
    panel = _Trace(image, bounds, (low - margin, high + margin), title, "", result)
    for values, color in zip(result.correlation, (BEFORE, AFTER), strict=True):
        panel.area.curve(panel.frames, values, color)
    panel.finish()
    _name(image, 886, [("before", BEFORE, 1.0), ("after", AFTER, 1.0)])
    for place, text in zip(*panel.across, strict=True):
        write(image, (panel.area.x(place), 1058), text, anchor="mm")
    write(image, (105, 1084), "frame")
    counts = {kind: list(result.status).count(kind) for kind in STATUS}
    shades = [(f"{kind} ({n})", STATUS[kind], 0.4) for kind, n in counts.items() if n]
    _name(image, 1096, [*shades, (f"⋮ reference ({result.reference})", QUIET, 0.0)])


class _Trace:
    """A panel over the frames, with the elements that all panels have."""

    def __init__(
        self,
        image: Image.Image,
        bounds: tuple[int, int],
        up: tuple[float, float],
        title: str,
        unit: str,
        result: Correction,
    ) -> None:
        count = len(result.status)
        self.frames = np.arange(count, dtype=np.float64)
        self._title, self._unit = title, unit
        self._up = ticks(*up, 7 if bounds[1] - bounds[0] > 200 else 4)
        self.across = ticks(-0.5, count - 0.5, 6, least_step=1)
        self.area = Panel(image, (105, bounds[0], 880, bounds[1]), (-0.5, count - 0.5), up)
        for kind, color in STATUS.items():
            for t in np.flatnonzero(np.asarray(result.status) == kind):
                self.area.shade(t - 0.5, t + 0.5, color, 0.3)
        self.area.grid(self.across[0], self._up[0])
        self.area.upright(result.reference, QUIET)

    def finish(self) -> None:
        """Paste the panel into the image."""
        self.area.finish(self._up, self._unit, self._title)


def _range(values: Array, least: float) -> tuple[float, float]:
    """Range of values, at least `least` wide; 0 to 1 without any."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    return low, max(high, low + least)


def _name(image: Image.Image, y: int, names: Sequence[tuple[str, str, float]]) -> None:
    """Write a legend at the right of a panel; faint colours are areas."""
    x = 880.0
    draw = ImageDraw.Draw(image, "RGBA")
    for text, color, alpha in reversed(names):
        write(image, (x, y), text, anchor="rm")
        x -= draw.textlength(text, font(15)) + 12
        if alpha == 1:
            draw.line((x - 24, y, x, y), color, 2)
            draw.ellipse((x - 15, y - 3, x - 9, y + 3), color)
        else:
            draw.rectangle((x - 24, y - 6, x, y + 6), f"{color}{round(255 * alpha):02x}")
        x -= 24 + (28 if alpha else 4)


def _draw_images(image: Image.Image, result: Correction) -> None:
    """Before above after, each in three planes through the middle of the brain."""
    inside = np.asarray(result.mask) > 0.5
    view = view_around(inside, result.affine, spare_mm=10)
    mask = np.asarray(view.canonical(inside), dtype=np.bool_)
    for number, (title, pair, colors) in enumerate(
        (
            ("Mean over time", result.mean, GRAY),
            ("Standard deviation over time", result.std, MAGMA),
            ("Temporal signal-to-noise ratio", result.tsnr, VIRIDIS),
        )
    ):
        top = 129 + 331 * number
        volumes = [np.asarray(view.canonical(volume), dtype=np.float32) for volume in pair]
        limits = _window(volumes, mask, tissue=number == 0)
        write(image, (970, top - 19), title, color=INK, size=17)
        for row, volume in enumerate(volumes):
            _draw_planes(image, view, volume, top + 148 * row, limits, colors)
            write_upwards(image, (952, top + 148 * row + 72), ("before", "after")[row])
        _draw_bar(image, top, limits, colors)


def _draw_planes(
    image: Image.Image,
    view: View,
    volume: Array,
    top: int,
    limits: tuple[float, float],
    colors: Sequence[str],
) -> None:
    """Three cuts side by side; the panel has the planes' proportions together."""
    shares = [across / up for across, up in map(view.extent, PLANES)]
    left = 970.0
    for plane, share in zip(PLANES, shares, strict=True):
        width = share / sum(shares) * (_WIDTH - 2 * 5)
        cut = Image.fromarray(colored(view.cut(volume, plane), limits, colors))
        size = (max(1, round(width)), _HEIGHT)
        image.paste(cut.resize(size, Image.Resampling.NEAREST), (round(left), top))
        left += width + 5


def _draw_bar(
    image: Image.Image, top: int, limits: tuple[float, float], colors: Sequence[str]
) -> None:
    rows = 2 * _HEIGHT + 4
    shares = np.linspace(1, 0, rows)[:, None].repeat(10, axis=1)
    image.paste(Image.fromarray(colored(shares, (0, 1), colors)), (1690, top))
    for value, text in zip(*ticks(*limits, 7), strict=True):
        share = (value - limits[0]) / (limits[1] - limits[0])
        write(image, (1706, top + (1 - share) * rows), text)


def _window(
    volumes: Sequence[Array], mask: npt.NDArray[np.bool_], tissue: bool
) -> tuple[float, float]:
    """One window for both; the brain fills it, a few bright voxels do not decide."""
    values = np.concatenate([volume[mask] if mask.any() else volume.ravel() for volume in volumes])
    high = float(np.percentile(values, 99))
    # from well below the darkest tissue, so that grey and white matter can be told apart
    low = 0.7 * float(np.percentile(values, 1)) if tissue else 0.0
    return low, high if high > low else low + 1

"""Text, curves and maps on a picture, by Pillow.

For one picture, matplotlib takes longer to import than this takes to draw it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from unimo_bids.reports.figures.palette import GRID, INK, LINE, QUIET
from unimo_bids.reports.figures.views import runs

Array = NDArray[np.floating]
_FINER = 3  # curves are drawn so much larger: smooth edges


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font of the other figures, which comes with matplotlib, in pixels; else Pillow's own."""
    name = f"DejaVuSans{'-Bold' if bold else ''}.ttf"
    found = find_spec("matplotlib")
    home = Path(found.origin).parent / "mpl-data/fonts/ttf" if found and found.origin else Path()
    for path in (home / name, Path(name)):
        try:
            return ImageFont.truetype(path, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def write(
    image: Image.Image,
    place: tuple[float, float],
    text: str,
    *,
    color: str = QUIET,
    size: int = 15,
    anchor: str = "lm",
    bold: bool = False,
) -> None:
    """Write into an image; the anchor is Pillow's: ``lm`` left in the middle."""
    ImageDraw.Draw(image).text(place, text, fill=color, font=font(size, bold), anchor=anchor)


def write_upwards(image: Image.Image, center: tuple[float, float], text: str) -> None:
    """Write from bottom to top."""
    left, top, right, bottom = (round(x) for x in font(15).getbbox(text))
    paper = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(paper).text((-left, -top), text, fill=255, font=font(15))
    turned = paper.transpose(Image.Transpose.ROTATE_90)
    corner = (round(center[0] - turned.width / 2), round(center[1] - turned.height / 2))
    image.paste(QUIET, corner, turned)


def ticks(low: float, high: float, most: int, least_step: float = 0.0) -> tuple[Array, list[str]]:
    """Round numbers in a range, about `most` of them, and their labels.

    >>> values, written = ticks(-0.7, 0.5, 6)
    >>> written
    ['−0.6', '−0.4', '−0.2', '0.0', '0.2', '0.4']
    """
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = max(least_step, min(m * power for m in (1, 2, 5, 10) if m * power >= 0.999 * rough))
    values = step * np.arange(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return values, [f"{value + 0.0:.{digits}f}".replace("-", "−") for value in values]


@dataclass(eq=False)
class Panel:
    """A part of an image that curves are drawn in: ``box`` is left, top, right, bottom."""

    image: Image.Image
    box: tuple[int, int, int, int]
    across: tuple[float, float]
    up: tuple[float, float]

    def __post_init__(self) -> None:
        left, top, right, bottom = self.box
        self._size = (right - left, bottom - top)
        self._fine = Image.new("RGB", (_FINER * (right - left), _FINER * (bottom - top)), "white")
        self._draw = ImageDraw.Draw(self._fine, "RGBA")

    def shade(self, low: float, high: float, color: str, alpha: float) -> None:
        """Colour everything between two horizontal positions."""
        ends = self._points(np.array([low, high]), np.array(self.up))
        self._draw.rectangle((ends[0][0], 0, ends[1][0] - 1, self._fine.height), _ink(color, alpha))

    def upright(self, place: float, color: str) -> None:
        """Draw a dotted vertical line."""
        ((x, _),) = self._points(np.array([place]), np.array([self.up[0]]))
        for y in range(0, self._fine.height, 8 * _FINER):
            self._draw.line((x, y, x, y + 3 * _FINER), color, round(1.4 * _FINER))

    def grid(self, ticks_across: Array, ticks_up: Array) -> None:
        """Draw the lines of the ticks."""
        for x, _ in self._points(ticks_across, np.full(len(ticks_across), self.up[0])):
            self._draw.line((x, 0, x, self._fine.height), GRID, 1 * _FINER)
        for _, y in self._points(np.full(len(ticks_up), self.across[0]), ticks_up):
            self._draw.line((0, y, self._fine.width, y), GRID, 1 * _FINER)

    def band(self, frames: Array, low: Array, high: Array, color: str, alpha: float) -> None:
        """Fill between two curves."""
        for run in runs(np.isfinite(low) & np.isfinite(high)):
            lower, upper = self._points(frames[run], low[run]), self._points(frames[run], high[run])
            if len(lower) > 1:
                self._draw.polygon([*lower, *upper[::-1]], _ink(color, alpha))

    def curve(self, frames: Array, values: Array, color: str, width: float = 2.3) -> None:
        """Draw a curve, with gaps; its values as dots where there are few."""
        for run in runs(np.isfinite(values)):
            points = self._points(frames[run], values[run])
            self._draw.line(points, color, round(width * _FINER), joint="curve")
            # so that one between two gaps is seen
            radius = (2.5 if len(frames) <= 60 else width / 2) * _FINER
            for x, y in points if len(frames) <= 60 else points[:1]:
                self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), color)

    def finish(self, ticks_up: tuple[Array, list[str]], unit: str, title: str) -> None:
        """Paste the panel into the image, with axes, ticks and title."""
        left, top, right, bottom = self.box
        self.image.paste(self._fine.reduce(_FINER), (left, top))
        draw = ImageDraw.Draw(self.image)
        draw.line((left, top, left, bottom), LINE)
        draw.line((left, bottom, right, bottom), LINE)
        for value, text in zip(*ticks_up, strict=True):
            y = bottom - (value - self.up[0]) / (self.up[1] - self.up[0]) * self._size[1]
            write(self.image, (left - 8, y), text, anchor="rm")
        write_upwards(self.image, (45, (top + bottom) / 2), unit)
        write(self.image, (left, top - 19), title, color=INK, size=17)

    def x(self, place: float) -> float:
        """Horizontal pixel of a position."""
        share = (place - self.across[0]) / (self.across[1] - self.across[0])
        return self.box[0] + share * self._size[0]

    def _points(self, across: Array, up: Array) -> list[tuple[float, float]]:
        width, height = self._fine.size
        x = (across - self.across[0]) / (self.across[1] - self.across[0]) * width
        y = height - (up - self.up[0]) / (self.up[1] - self.up[0]) * height
        # far outside, Pillow's whole numbers overflow
        y = np.clip(y, -10 * height, 10 * height)
        return list(zip(x.tolist(), y.tolist(), strict=True))


def colored(
    values: NDArray[np.generic], window: tuple[float, float], colors: Sequence[str]
) -> NDArray[np.uint8]:
    """Values in a window as colours, ``(..., 3)`` uint8."""
    anchors = np.array([_ink(color, 1)[:3] for color in colors], dtype=np.float64)
    share = np.clip((values.astype(np.float64) - window[0]) / (window[1] - window[0]), 0, 1) * (
        len(anchors) - 1
    )
    places = np.arange(len(anchors))
    channels = [np.interp(share, places, channel) for channel in anchors.T]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _ink(color: str, alpha: float) -> tuple[int, int, int, int]:
    r, g, b = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return r, g, b, round(255 * alpha)

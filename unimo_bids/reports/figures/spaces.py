"""A run in standard spaces: its image and the template's in turn, with the outlines of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from unimo_bids.pipeline.spaces import Carried
from unimo_bids.reports.figures import style
from unimo_bids.reports.figures.images import Bytes, cuts_in_row, outline, show
from unimo_bids.reports.figures.views import PLANES, intensity_window, view_around
from unimo_bids.spaces.names import AXES
from unimo_bids.spatial.resampling import resample
from unimo_bids.spatial.warp import Affine

_CUTS = 7
_TITLE = 0.25  # inches
# the template comes and goes over the run; who wants no motion sees the run, with both outlines
_FLICKER = (
    "@keyframes flicker{0%,45%,100%{opacity:0}55%,90%{opacity:1}}"
    "[id^=template]{opacity:0;animation:flicker 3s infinite}"
    "@media (prefers-reduced-motion:reduce){[id^=template]{animation:none}}"
)


def draw_spaces(path: Path, spaces: Sequence[Carried]) -> None:
    """Draw a row of cuts for each space and plane: the run there, and the template over it."""
    drawn = [_rows(one) for one in spaces]
    width = 10.0
    heights = [
        width * sum(row.run.shape[0] for row in rows) / rows[0].run.shape[1] for rows in drawn
    ]
    total = sum(heights) + _TITLE * len(drawn)
    with style.svg_figure(path, width, total, _FLICKER) as figure:
        top = total
        number = count()
        for one, rows in zip(spaces, drawn, strict=True):
            top -= _TITLE
            bent = "" if one.pose.field is None else ", bent"
            doubted = ", in doubt" if one.pose.doubts else ""
            figure.text(
                0, (top + 0.06) / total, f"{one.space}: Dice {one.pose.dice:.2f}{bent}{doubted}",
                color=style.QUIET, size=9,
            )  # fmt: skip
            for row in rows:
                height = width * row.run.shape[0] / row.run.shape[1]
                top -= height
                row.draw(figure, (0, top / total, 1, height / total), f"template-{next(number)}")


@dataclass(frozen=True)
class _Row:
    """Cuts of a plane, and the outlines in them; along the head's axes there is no template."""

    run: Bytes
    template: Bytes | None
    edges: list[tuple[Bytes, str]]

    def draw(self, figure: Figure, place: tuple[float, float, float, float], name: str) -> None:
        """Draw the cuts, the template's over the run's under a name of its own, and outlines."""
        ax = figure.add_axes(place)
        show(ax, self.run)
        if self.template is not None:
            show(figure.add_axes(place, gid=name), self.template)
            # what was drawn first would lie below it
            ax = figure.add_axes(place, sharex=ax, sharey=ax, facecolor="none")
            style.no_axis(ax)
        for edge, color in self.edges:
            outline(ax, edge, 127.5, color, 1.0)


def _rows(one: Carried) -> list[_Row]:
    image, mask = _template(one)
    view = view_around(mask | one.mask, one.grid.affine.numpy())
    pictures = [(one.boldref, one.mask)]
    if one.space.name != AXES:  # there the template has not the run's size
        pictures.append((image, mask))
    rows = []
    for plane in PLANES:
        places = view.indices(plane, view.canonical(mask).astype(bool), _CUTS)
        edges = [
            (cuts_in_row(view.canonical(inside).astype(bool), view, plane, places, (0, 1)), color)
            for inside, color in ((mask, style.OUTLINE), (one.mask, style.SOFT))
        ]
        shown = [
            cuts_in_row(
                view.canonical(volume), view, plane, places, intensity_window(volume, inside)
            )
            for volume, inside in pictures
        ]
        rows.append(_Row(shown[0], shown[1] if len(shown) > 1 else None, edges))
    return rows


def _template(one: Carried) -> tuple[np.ndarray, np.ndarray]:
    """The template and its brain where the run is sampled; the run's own along the head's axes."""
    if one.space.name == AXES:
        return one.boldref, one.mask
    head, rest = one.template.head, Affine(torch.eye(4, dtype=torch.float64))
    image, mask = (
        resample(
            torch.from_numpy(np.asarray(part, dtype=np.float32)),
            head.grid,
            rest,
            onto=one.grid,
            interpolation="linear",
        ).numpy()
        for part in (head.image, head.mask)
    )
    return image, mask > 0.5

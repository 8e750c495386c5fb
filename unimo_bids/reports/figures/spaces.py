"""A run in standard spaces: its image below the template's, with the template's outlines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from unimo_bids.pipeline.spaces import Carried
from unimo_bids.reports.figures import style
from unimo_bids.reports.figures.images import cuts_in_row, outline, show
from unimo_bids.reports.figures.views import PLANES, intensity_window, view_around
from unimo_bids.spaces.names import AXES
from unimo_bids.spatial.resampling import resample
from unimo_bids.spatial.warp import Affine

_CUTS = 7
_TITLE = 0.25  # inches


def draw_spaces(path: Path, spaces: Sequence[Carried]) -> None:
    """Draw two rows of cuts for each space and plane: the template, and the run there."""
    drawn = [_rows(one) for one in spaces]
    width = 10.0
    heights = [
        width * sum(image.shape[0] for image, _ in rows) / rows[0][0].shape[1] for rows in drawn
    ]
    total = sum(heights) + _TITLE * len(drawn)
    with style.svg_figure(path, width, total) as figure:
        top = total
        for one, rows in zip(spaces, drawn, strict=True):
            top -= _TITLE
            doubted = ", in doubt" if one.pose.doubts else ""
            figure.text(
                0, (top + 0.06) / total, f"{one.space}: Dice {one.pose.overlap:.2f}{doubted}",
                color=style.QUIET, size=9,
            )  # fmt: skip
            for image, lines in rows:
                height = width * image.shape[0] / image.shape[1]
                top -= height
                ax = figure.add_axes((0, top / total, 1, height / total))
                show(ax, image)
                for edge, color in lines:
                    outline(ax, edge, 127.5, color, 1.0)


def _rows(one: Carried) -> list[tuple[np.ndarray, list[tuple[np.ndarray, str]]]]:
    """Images of cuts, and what is outlined in them."""
    image, mask = _template(one)
    view = view_around(mask | one.mask, one.grid.affine.numpy())
    pictures = [(one.boldref, intensity_window(one.boldref, one.mask))]
    if one.space.name != AXES:  # there the template has not the run's size
        pictures.insert(0, (image, intensity_window(image, mask)))
    rows = []
    for plane in PLANES:
        places = view.indices(plane, view.canonical(mask).astype(bool), _CUTS)
        edges = [
            (cuts_in_row(view.canonical(inside).astype(bool), view, plane, places, (0, 1)), color)
            for inside, color in ((mask, style.OUTLINE), (one.mask, style.SOFT))
        ]
        rows += [
            (cuts_in_row(view.canonical(volume), view, plane, places, window), edges)
            for volume, window in pictures
        ]
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

"""Places that may be the brain: three cuts through each, with what to give to choose it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.patches import Circle
from scipy import ndimage

from unimo_bids.brain.mask import Candidate, ball_radius
from unimo_bids.reports.figures import style
from unimo_bids.reports.figures.views import PLANES, intensity_window, side_by_side, to_bytes
from unimo_bids.reports.summary import headings

Array = npt.NDArray[np.floating]

# A row is narrower than the page; more than an adult's brain is seen, or a fetus in its womb
_WIDTH, _SEEN_MM, _PIXELS, _GAP = 6.4, 160.0, 205, 2
_HEADING = 0.26  # inches
_CHOSEN, _OTHER = "#ff9a3c", "#63b3ff"


def draw_candidates(
    path: Path,
    volume: Array,
    affine: npt.NDArray[np.float64],
    candidates: Sequence[Candidate],
    chosen: bool,
) -> None:
    """Draw a row for each candidate: cuts through its centre, with a ball of its volume.

    Parameters
    ----------
    path
        Where.
    volume
        ``(X, Y, Z)`` in which they were found.
    affine
        ``(4, 4)`` indices → RAS mm.
    candidates, chosen
        See `summary.headings`.
    """
    pixel_mm, wide = _SEEN_MM / _PIXELS, 3 * _PIXELS + 2 * _GAP
    row = _WIDTH * _PIXELS / wide
    height = len(candidates) * (row + _HEADING)
    with style.svg_figure(path, _WIDTH, height) as figure:
        top = height
        for number, (one, words) in enumerate(
            zip(candidates, headings(candidates, chosen), strict=True)
        ):
            top -= _HEADING
            figure.text(
                0, (top + 0.07) / height, ": ".join(words), ha="left", va="bottom", size=9.5
            )
            top -= row
            ax = figure.add_axes((0, top / height, 1, row / height))
            image = side_by_side(three_cuts(volume, affine, one), _GAP)
            ax.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="none", aspect="auto")
            style.no_axis(ax)
            color = _CHOSEN if chosen and number == 0 else _OTHER
            for column in range(3):
                middle = column * (_PIXELS + _GAP) + (_PIXELS - 1) / 2, (_PIXELS - 1) / 2
                radius = ball_radius(one.volume) / pixel_mm
                ax.add_patch(Circle(middle, radius, fill=False, ec=color, lw=1.3))


def three_cuts(
    volume: Array, affine: npt.NDArray[np.float64], candidate: Candidate
) -> list[npt.NDArray[np.uint8]]:
    """Cut a volume through a candidate's centre: axial, coronal, sagittal, left on the left."""
    center = np.asarray(candidate.center)
    steps = (np.arange(_PIXELS) - (_PIXELS - 1) / 2) * (_SEEN_MM / _PIXELS)
    place = np.linalg.inv(affine)
    cuts = []
    for across, up, _ in PLANES:
        points = np.tile(center, (_PIXELS, _PIXELS, 1))
        points[..., across] += steps
        points[..., up] -= steps[:, None]  # the top row first
        indices = points @ place[:3, :3].T + place[:3, 3]
        cuts.append(ndimage.map_coordinates(volume, np.moveaxis(indices, -1, 0), order=1))
    grid = np.stack(np.meshgrid(steps, steps, indexing="ij"))
    inside = np.linalg.norm(grid, axis=0) < ball_radius(candidate.volume)
    window = intensity_window(np.stack(cuts), np.broadcast_to(inside, (3, *inside.shape)))
    return [to_bytes(cut, window) for cut in cuts]

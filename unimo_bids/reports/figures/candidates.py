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
from unimo_bids.reports.figures.images import show
from unimo_bids.reports.figures.views import PLANES, intensity_window, side_by_side, to_bytes
from unimo_bids.reports.summary import headings

Array = npt.NDArray[np.floating]

# More than an adult's brain is seen, or a fetus in its womb
_SEEN_MM, _PIXELS, _GAP = 160.0, 160, 2
_WIDTH, _CUTS, _BETWEEN = 10.0, 6.0, 0.06  # inches of the figure, three cuts, rows


def draw_candidates(
    path: Path,
    volume: Array,
    affine: npt.NDArray[np.float64],
    candidates: Sequence[Candidate],
    chosen: bool,
) -> None:
    """Draw a row for each candidate: cuts through its centre, with a ball of its volume.

    The volume ``(X, Y, Z)`` is that in which they were found; `summary.headings` names them.
    """
    pixel_mm, row = _SEEN_MM / _PIXELS, _CUTS * _PIXELS / (3 * _PIXELS + 2 * _GAP)
    height = len(candidates) * (row + _BETWEEN)
    with style.svg_figure(path, _WIDTH, height) as figure:
        told = headings(candidates, chosen)
        for number, (one, (what, option)) in enumerate(zip(candidates, told, strict=True)):
            top = height - number * (row + _BETWEEN)
            ax = figure.add_axes((0, (top - row) / height, _CUTS / _WIDTH, row / height))
            show(ax, side_by_side(three_cuts(volume, affine, one), _GAP))
            color = style.OUTLINE if chosen and number == 0 else style.SOFT
            radius = ball_radius(one.volume) / pixel_mm
            for column in range(3):
                middle = column * (_PIXELS + _GAP) + (_PIXELS - 1) / 2, (_PIXELS - 1) / 2
                ax.add_patch(Circle(middle, radius, fill=False, ec=color, lw=1.3))
            left, middle_row = (_CUTS + 0.15) / _WIDTH, (top - row / 2) / height
            figure.text(left, middle_row, f"{what}:", va="bottom", size=10)
            figure.text(left, middle_row - 0.06 / height, option, va="top", color=style.QUIET)


def three_cuts(
    volume: Array, affine: npt.NDArray[np.float64], candidate: Candidate
) -> list[npt.NDArray[np.uint8]]:
    """Cut a volume through a candidate's centre: axial, coronal, sagittal, left on the left."""
    center = np.asarray(candidate.center, dtype=np.float64)
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

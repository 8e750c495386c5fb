"""What figures keep of a series as its frames pass once: cuts, some voxels, means of slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from unimo_bids.files.series import Series
from unimo_bids.reports.figures.views import (
    PLANES,
    View,
    enlarged,
    evenly,
    side_by_side,
    to_bytes,
)

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

# as many rows as the page has for them
_CARPET_VOXELS = 200
# Of an adult's brain, so many frames are shown with pixels of 3 mm; a report is sent by mail.
_MOVIE_FRAMES, _SHEET_PIXELS = 200, 4e6
_FINEST_PIXEL_MM = 1.0


@dataclass(frozen=True, eq=False)
class Plan:
    """Parts of a series to keep for its figures.

    Attributes
    ----------
    view, window
        What part of a frame is shown, and which intensities.
    pixel_mm
        Of the cuts.
    shown
        Frames of which cuts are kept.
    voxels
        ``(V,)`` flat indices of voxels kept at all times, from the edge of the brain inwards.
    inside, slices
        Flat indices of the brain's voxels, and the slice of each.
    """

    view: View
    window: tuple[float, float]
    pixel_mm: float
    shown: npt.NDArray[np.intp]
    voxels: npt.NDArray[np.intp]
    inside: npt.NDArray[np.intp]
    slices: npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Survey:
    """Parts of a series that were kept.

    Attributes
    ----------
    cuts
        ``(F, height, width)`` three planes in a row, of each frame shown.
    voxels
        ``(V, T)``
    slices
        ``(S, T)`` mean of each slice over the brain; NaN where a slice has none of it.
    """

    cuts: npt.NDArray[np.uint8]
    voxels: Float32
    slices: Float32


def plan_survey(
    view: View, mask: Bool, window: tuple[float, float], frames: int, slice_axis: int
) -> Plan:
    """Decide what to keep of a series with so many frames."""
    shown = evenly(frames, _MOVIE_FRAMES)
    extents = [view.extent(plane) for plane in PLANES]
    area_mm2 = sum(width for width, _ in extents) * max(height for _, height in extents)
    # half a voxel shows all there is; two rows, before and after, share the sheet
    pixel_mm = max(
        _FINEST_PIXEL_MM,
        float(view.sizes.min()) / 2,
        float(np.sqrt(2 * len(shown) * area_mm2 / _SHEET_PIXELS)),
    )
    if not mask.any():
        mask = np.ones_like(mask)
    # a series that is cropped at the brain must not look all core
    sizes = view.sizes[view.orientation[:, 0].astype(int)]  # along the volume's own axes
    depth = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=sizes)
    inside = np.flatnonzero(mask)
    order = np.argsort(depth[1:-1, 1:-1, 1:-1].ravel()[inside], kind="stable")
    chosen = evenly(len(inside), _CARPET_VOXELS)
    slices = np.unravel_index(inside, mask.shape)[slice_axis]
    return Plan(view, window, pixel_mm, shown, inside[order][chosen], inside, slices)


def survey(series: Series, plan: Plan) -> Survey:
    """Read a series once, and keep what the plan asks for."""
    frames, counts = series.shape[3], np.bincount(plan.slices)
    voxels = np.empty((len(plan.voxels), frames), np.float32)
    slices = np.full((len(counts), frames), np.nan, np.float32)
    shown = set(plan.shown.tolist())
    cuts = []
    for t in range(frames):
        frame = series.frame(t)
        flat = frame.ravel()
        voxels[:, t] = flat[plan.voxels]
        sums = np.bincount(plan.slices, weights=flat[plan.inside])
        np.divide(sums, counts, out=slices[:, t], where=counts > 0, casting="unsafe")
        if t in shown:
            cuts.append(three_planes(frame, plan))
    return Survey(np.stack(cuts), voxels, slices)


def three_planes(frame: Float32, plan: Plan) -> npt.NDArray[np.uint8]:
    """Cut a frame through the middle of the brain, three planes in a row."""
    canonical = plan.view.canonical(frame)
    return side_by_side(
        [
            enlarged(
                to_bytes(plan.view.cut(canonical, plane), plan.window),
                plan.view.extent(plane),
                plan.pixel_mm,
            )
            for plane in PLANES
        ]
    )


def change_per_cent(values: Float32, detrend: bool = False) -> Float32:
    """Give signals ``(N, T)`` in per cent of their median, optionally without their drift.

    Medians, and a drift between the medians of both halves: a few wild frames do not decide.
    """
    level = np.median(values, axis=1, keepdims=True)
    # beside the brain a small level would make noise look like a storm
    floor = 0.1 * float(np.median(np.abs(level))) if level.size else 0.0
    change = 100 * (values - level) / np.maximum(np.abs(level), max(floor, 1e-6))
    frames = values.shape[1]
    if detrend and frames >= 8:
        half = frames // 2
        rise = np.median(change[:, -half:], axis=1) - np.median(change[:, :half], axis=1)
        # the middles of the halves lie this many frames apart
        time = (np.arange(frames) - (frames - 1) / 2) / (frames - half)
        change = change - np.outer(rise, time)
    return np.asarray(change, dtype=np.float32)

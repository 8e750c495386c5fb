"""Draw all figures of a run into the files that its participant's report is made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from unimo_bids.errors import InputError
from unimo_bids.files.mapped import open_series
from unimo_bids.files.series import Series, read_mask
from unimo_bids.files.staging import make_folder
from unimo_bids.reports.figures.bending import draw_bending
from unimo_bids.reports.figures.candidates import draw_candidates
from unimo_bids.reports.figures.carpet import draw_carpet, draw_slices
from unimo_bids.reports.figures.confounds import draw_confounds
from unimo_bids.reports.figures.images import draw_brain, draw_masks, draw_tsnr
from unimo_bids.reports.figures.movie import write_movie
from unimo_bids.reports.figures.traces import draw_motion, draw_similarity
from unimo_bids.reports.figures.tracking import draw_tracking
from unimo_bids.reports.figures.trajectory import draw_trajectory
from unimo_bids.reports.figures.views import intensity_window, view_around
from unimo_bids.reports.figures.within import draw_within
from unimo_bids.reports.record import RunRecord
from unimo_bids.reports.reportlets import reportlet
from unimo_bids.reports.summary import AGAIN, write_summary
from unimo_bids.reports.survey import plan_survey, survey

Float32 = npt.NDArray[np.float32]


def draw_run(record: RunRecord, figures_dir: str | Path) -> list[Path]:
    """Draw a run.

    Returns the files written, ``<entities>_desc-<what>_bold.<svg|webp|json>``.
    """
    folder = Path(figures_dir)
    make_folder(folder)
    written: list[Path] = []

    def place(what: str, kind: str = "svg") -> Path:
        written.append(reportlet(folder, record.entities, what, kind))
        return written[-1]

    boldref, affine, slice_axis = read_image(record.boldref)
    mask = read_image(record.mask)[0] > 0.5
    view = view_around(mask, affine)
    window = intensity_window(boldref, mask)
    draw_brain(place("brain"), boldref, mask, read_image(record.probability)[0], view, window)
    if record.candidates and record.reference_volume is not None:
        volume = read_image(record.reference_volume)[0]
        draw_candidates(place("candidates"), volume, affine, record.candidates, record.chosen)
    frames = len(record.status)
    plan = plan_survey(view, mask, window, frames, slice_axis)
    series = _read_series(record.original, frames)
    if record.motion_mask is not None:
        masks = read_mask(record.motion_mask, series)
        if masks.ndim == 4:
            draw_masks(place("masks"), record, series, masks, window)
        del masks
    before = survey(series, plan)
    del series
    after = survey(_read_series(record.corrected, frames), plan)
    tsnr = [read_image(path)[0] for path in (record.tsnr_before, record.tsnr_after)]
    draw_tsnr(place("tsnr"), tsnr[0], tsnr[1], mask, view)
    write_movie(place("movie", "webp"), place("movie", "json"), record, plan.shown, before, after)
    draw_carpet(place("carpet"), record, before, after)
    draw_slices(place("slices"), record, before, after)

    figures: dict[str, Callable[[Path, RunRecord], None]] = {
        "motion": draw_motion,
        "trajectory": draw_trajectory,
        "similarity": draw_similarity,
    }
    for what, draw in figures.items():
        draw(place(what), record)
    if record.track is not None:
        draw_tracking(place("tracking"), record, record.track)
    if record.slices is not None:
        draw_within(place("within"), record, boldref, view, window)
    if record.bending is not None:
        draw_bending(place("bending"), record, mask, view)
    draw_confounds(place("confounds"), record.confounds)
    # last: a run with a summary has all its figures
    write_summary(place("summary", "json"), record)
    return written


def read_image(path: str | Path) -> tuple[Float32, npt.NDArray[np.float64], int]:
    """Read a volume that this program wrote, its affine, and the axis of slices."""
    try:
        image: Any = nib.load(path)
        slice_axis = image.header.get_dim_info()[2]
        data = np.asarray(image.dataobj, dtype=np.float32)
    except (OSError, nib.filebasedimages.ImageFileError) as error:
        raise InputError(path, "this image cannot be read", AGAIN) from error
    volume = np.nan_to_num(data.reshape(data.shape[:3]), posinf=0, neginf=0)
    return volume, image.affine, 2 if slice_axis is None else int(slice_axis)


def _read_series(path: Path, frames: int) -> Series:
    series = open_series(path)
    if series.shape[3] != frames:
        finding = f"it has {series.shape[3]} frames, the estimate {frames}"
        raise InputError(path, finding, AGAIN)
    return series

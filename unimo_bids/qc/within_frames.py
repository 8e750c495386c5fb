"""Confounds that only slices know: motion within frames, coverage, what could not be undone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from unimo_bids.qc.confounds import ConfoundSettings
from unimo_bids.qc.thresholds import COVERAGE


def coverage_of(path: str | Path, mask: NDArray[Any]) -> NDArray[np.float64]:
    """Share of the brain that the slices of each frame covered ``(T,)``.

    Parameters
    ----------
    path
        4D, per cent; a place is covered from 50 on.
    mask
        ``(X, Y, Z)``
    """
    image: Any = nib.load(path)
    covered = np.asanyarray(image.dataobj)[mask > 0.5]
    return np.asarray((covered >= 50).mean(axis=0), dtype=np.float64)


def slice_confounds(
    table: Mapping[str, NDArray[Any]],
    within_max: NDArray[np.float64],
    within_rms: NDArray[np.float64],
    coverage: NDArray[np.float64],
    history: NDArray[np.float64],
    settings: ConfoundSettings,
) -> dict[str, NDArray[Any]]:
    """Columns ``(T,)`` beside those of `confounds_table`; `describe_slice_confounds` explains them.

    Framewise displacement says how far a head moved, whether or not that could be undone.
    `censor_uncorrected` leaves out only what could not.
    """
    unsteady = [column for name, column in table.items() if name.startswith("non_steady")]
    uncorrected = (
        np.isin(table["motion_status"], ("bridged", "lost"))
        | (coverage < COVERAGE.least)
        | (np.nan_to_num(table["std_dvars"]) > settings.dvars_threshold)
        | np.any([column == 1 for column in unsteady], axis=0)
    )
    return {
        "within_frame_max": within_max,
        "within_frame_rms": within_rms,
        "slice_coverage": coverage,
        "spin_history_rms": history,
        "censor_uncorrected": uncorrected.astype(np.int64),
    }


def describe_slice_confounds(settings: ConfoundSettings) -> dict[str, dict[str, Any]]:
    """Explain the columns, for their JSON sidecar."""
    return {
        "within_frame_max": {
            "Description": "Largest displacement between two slices of the frame, on the brain's"
            " surface. 0 where one pose explains all slices.",
            "Units": "mm",
        },
        "within_frame_rms": {
            "Description": "Root mean square displacement of the frame's slices from their mean"
            " place, on the brain's surface.",
            "Units": "mm",
        },
        "slice_coverage": {
            "Description": "Share of the brain that slices of the frame came near to; the rest is 0"
            " in the corrected series.",
            "Units": "1",
        },
        "spin_history_rms": {
            "Description": "Relative change of the brain's brightness by spin history, as fitted,"
            " root mean square over voxels; n/a where it was not looked at. The sidecar of the"
            " corrected series says whether it was removed.",
            "Units": "1",
        },
        "censor_uncorrected": {
            "Description": "Whether the frame has what correction could not undo: it is not in"
            " steady state, is bridged or lost, its slices cover less than"
            f" {COVERAGE.least:g} of the brain, or its std_dvars is above"
            f" {settings.dvars_threshold:g}. Displacement alone is no reason, unlike in censor.",
            "Levels": {"0": "keep", "1": "leave out"},
        },
    }

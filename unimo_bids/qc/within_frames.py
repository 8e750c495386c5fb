"""Confounds that only slices know: motion within frames, and what they covered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from unimo_bids.qc.columns import described

SLICE_CONFOUNDS: dict[str, dict[str, Any]] = {  # for their JSON sidecar
    "within_frame_max": described(
        "Largest displacement between two slices of the frame, on the brain's surface. 0 where one"
        " pose explains all slices.",
        "mm",
    ),
    "within_frame_rms": described(
        "Root mean square displacement of the frame's slices from their mean place, on the brain's"
        " surface.",
        "mm",
    ),
    "slice_coverage": described(
        "Share of the brain that slices of the frame came near to; the rest is 0 in the corrected"
        " series.",
        "1",
    ),
    "spin_history_rms": described(
        "Relative change of the brain's brightness by spin history, as fitted, root mean square"
        " over voxels; n/a where it was not looked at. The sidecar of the corrected series says"
        " whether it was removed.",
        "1",
    ),
}


def covered_by_slices(path: str | Path, mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Which places of the brain the slices of each frame covered ``(T, V)``.

    Parameters
    ----------
    path
        4D, per cent; a place is covered above 50.
    mask
        ``(X, Y, Z)``
    """
    image: Any = nib.load(path)
    return np.asarray(np.asanyarray(image.dataobj)[mask > 0.5].T > 50)


def slice_confounds(
    within_max: NDArray[np.float64],
    within_rms: NDArray[np.float64],
    coverage: NDArray[np.float64],
    history: NDArray[np.float64],
) -> dict[str, NDArray[Any]]:
    """Columns ``(T,)`` beside those of `confounds_table`; `SLICE_CONFOUNDS` explains them."""
    return {
        "within_frame_max": within_max,
        "within_frame_rms": within_rms,
        "slice_coverage": coverage,
        "spin_history_rms": history,
    }

"""Motion as derivatives keep it, and from them again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unimo_bids.errors import InputError
from unimo_bids.files.series import Series, read_mask, read_volume
from unimo_bids.files.tables import read_columns, read_words
from unimo_bids.files.transforms import read_itk
from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.qc.confounds import covariance_of_table


def motion_facts(motion: MotionEstimate) -> dict[str, Any]:
    """Reference and decisions of a motion estimate, for the sidecar of its transforms."""
    return {
        "ReferenceFrame": motion.reference,
        "Center": [float(x) for x in motion.center],
        "Radius": float(motion.radius),
        "Mode": motion.mode,
        "Findings": list(motion.findings),
    }


def read_motion(
    series: Series,
    transforms: str | Path,
    boldref: str | Path,
    brain: str | Path,
    confounds: str | Path,
    about: Mapping[str, Any],
) -> MotionEstimate:
    """Read the motion of a series from its derivatives.

    Of the covariances, a table of confounds has the standard deviations alone: what the parameters
    of a frame have in common is lost.

    Parameters
    ----------
    series
        The raw frames that it belongs to.
    transforms, boldref, brain, confounds
        As `bids.names.RunNames` has them.
    about
        `motion_facts`.
    """
    poses, columns = read_itk(transforms), read_columns(confounds)
    status = read_words(confounds, "motion_status")
    remedy = "give the derivatives of this series, or leave them out of --derivatives"
    for path, frames in ((transforms, len(poses)), (confounds, len(status))):
        if frames != series.shape[3]:
            finding = f"it has {frames} frames, the series {series.shape[3]}"
            raise InputError(path, finding, remedy)
    return MotionEstimate(
        poses=poses,
        covariance=covariance_of_table(poses, columns),
        similarity=columns["similarity"],
        status=status,
        template=np.asarray(read_volume(boldref, series), dtype=np.float32),
        mask=np.asarray(read_mask(brain, series), dtype=np.float32),
        reference=about["ReferenceFrame"],
        center=np.array(about["Center"], dtype=np.float64),
        radius=about["Radius"],
        mode=about["Mode"],
        findings=tuple(about["Findings"]),
    )

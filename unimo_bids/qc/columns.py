"""What the columns of the confounds mean, for their JSON sidecar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from unimo_bids.qc.confounds import (
    CUTOFF_PERIOD_S,
    MOTION_NAMES,
    UNKNOWN_STEP_MM,
    ConfoundSettings,
    outlier_reasons,
)
from unimo_bids.qc.thresholds import COVERAGE


def describe_columns(
    table: Mapping[str, npt.NDArray[Any]], settings: ConfoundSettings | None = None
) -> dict[str, dict[str, Any]]:
    """Explain every column of a confounds table, for its JSON sidecar."""
    settings = settings or ConfoundSettings()
    fixed, reasons = _fixed_columns(settings), outlier_reasons(table, settings)
    return {
        name: fixed[name] if name in fixed else _numbered_column(name, column, reasons)
        for name, column in table.items()
    }


def _numbered_column(
    name: str, column: npt.NDArray[Any], reasons: list[list[str]]
) -> dict[str, Any]:
    stem = name.rstrip("0123456789")
    if stem == "cosine":
        return {
            "Description": "High-pass filter: a slow cosine over the frames in steady state, zero"
            " in the others.",
            "Method": "Discrete cosine transform (DCT-II)",
            "CutoffPeriod": CUTOFF_PERIOD_S,
            "Units": "arbitrary",
        }
    frame = int(np.argmax(column))
    why = {
        "non_steady_state_outlier": "not yet in steady state",
        "motion_outlier": ", ".join(reasons[frame]),
    }[stem]
    return {
        "Description": f"Marks frame {frame} (counted from 0): {why}.",
        "Levels": {"0": "any other frame", "1": f"frame {frame}"},
    }


def _fixed_columns(settings: ConfoundSettings) -> dict[str, dict[str, Any]]:
    """Descriptions of the columns that every table has."""
    columns = _plain_columns(settings)
    for name in ("global_signal", *MOTION_NAMES):
        what, unit = columns[name]["Description"], columns[name]["Units"]
        squared = unit if unit == "arbitrary" else f"{unit}^2"
        for suffix, expansion, units in (
            ("derivative1", "Change since the frame before", unit),
            ("power2", "Square", squared),
            ("derivative1_power2", "Square of the change since the frame before", squared),
        ):
            columns[f"{name}_{suffix}"] = {
                "Description": f"{expansion} of {name}. {what}",
                "Units": units,
            }
        if name in MOTION_NAMES:
            columns[f"{name}_sd"] = {
                "Description": f"Standard deviation of {name}: how well the frame's noise and"
                " detail determine it. Not known (n/a) where the head was lost.",
                "Units": unit,
            }
    return columns


def _plain_columns(settings: ConfoundSettings) -> dict[str, dict[str, Any]]:
    unknown = (
        f" Into and out of a lost frame the step is unknown and given as {UNKNOWN_STEP_MM:g} mm at"
        " least, so that thresholds find it: leave these out of means."
    )
    motion = {
        f"trans_{axis}": {
            "Description": f"Translation of the brain's centre along {axis} (RAS), from the"
            " reference to the frame.",
            "Units": "mm",
        }
        for axis in "xyz"
    } | {
        f"rot_{axis}": {
            "Description": f"Rotation about {axis} (RAS) and the brain's centre, from the reference"
            " to the frame: component of the rotation vector (axis times angle).",
            "Units": "rad",
        }
        for axis in "xyz"
    }
    return motion | {
        "global_signal": {
            "Description": "Mean of the corrected series within the brain mask, of what the frame"
            " saw.",
            "Units": "arbitrary",
        },
        "std_dvars": {
            "Description": "Standardised DVARS: DVARS as a multiple of what the voxels' robust"
            " standard deviation and lag-1 autocorrelation let expect of so many frames; 1 is noise"
            " alone.",
            "Method": "Nichols 2013, corrected for the number of frames",
            "Units": "1",
            "Threshold": settings.dvars_threshold,
        },
        "dvars": {
            "Description": "Root mean square change of the corrected series since the frame before,"
            " within the brain mask whose median is scaled to 1000, where both frames saw the"
            " place.",
            "Method": "Power et al. 2012",
            "Units": "arbitrary",
        },
        "framewise_displacement": {
            "Description": "Sum of absolute changes of the six motion parameters since the frame"
            f" before, a radian taken as {settings.fd_radius:g} mm.{unknown}",
            "Method": "Power et al. 2012",
            "Units": "mm",
            "Radius": settings.fd_radius,
            "Threshold": settings.fd_threshold,
        },
        "framewise_displacement_corrected": {
            "Description": "The same, of the corrected series registered again: what correction"
            " left. Not known (n/a) beside a lost frame.",
            "Units": "mm",
            "Radius": settings.fd_radius,
            "Threshold": settings.fd_threshold,
        },
        "rmsd": {
            "Description": "Root mean square displacement since the frame before of the points of a"
            f" ball of {settings.rmsd_radius:g} mm about the brain's centre.{unknown}",
            "Method": "Jenkinson 1999",
            "Units": "mm",
            "Radius": settings.rmsd_radius,
        },
        "similarity": {
            "Description": "Correlation of the frame with the template at its pose. Not known (n/a)"
            " for a frame without an image.",
            "Units": "1",
        },
        "motion_status": {
            "Description": "How the pose of the frame was found.",
            "Levels": {
                "ok": "registered to the template",
                "searched": "registered after a search of all rotations",
                "bridged": "not registered: the pose rests on the frames before and after",
                "lost": "no pose to believe: the parameters are a guess, the frame is unusable",
            },
        },
        "censor": {
            "Description": "Whether the frame is recommended to be left out: it is not in steady"
            " state (non_steady_state_outlier), is bridged or lost (motion_status), has a"
            f" framewise_displacement above {settings.fd_threshold:g} mm, or a std_dvars above"
            f" {settings.dvars_threshold:g}.",
            "Levels": {"0": "keep", "1": "leave out"},
        },
        "censor_uncorrected": {
            "Description": "Whether the frame has what correction could not undo: it is not in"
            " steady state, is bridged or lost, still moves in the corrected series by more than"
            f" {settings.fd_threshold:g} mm (framewise_displacement_corrected), has a std_dvars"
            f" above {settings.dvars_threshold:g}, or saw less than {COVERAGE.least:g} of the brain"
            " (slice_coverage, where slices were followed). Displacement alone is no reason, unlike"
            " in censor.",
            "Levels": {"0": "keep", "1": "leave out"},
        },
    }

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


def described(text: str, units: str | None = None, **more: Any) -> dict[str, Any]:
    """Description of a column for a JSON sidecar; further fields as ``method="…"``."""
    about = {"Description": text} | ({} if units is None else {"Units": units})
    return about | {name.title(): value for name, value in more.items()}


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
        text = (
            "High-pass filter: a slow cosine over the frames in steady state, zero in the others."
        )
        about = described(text, "arbitrary", method="Discrete cosine transform (DCT-II)")
        return about | {"CutoffPeriod": CUTOFF_PERIOD_S}
    frame = int(np.argmax(column))
    why = {
        "non_steady_state_outlier": "not yet in steady state",
        "motion_outlier": ", ".join(reasons[frame]),
    }[stem]
    levels = {"0": "any other frame", "1": f"frame {frame}"}
    return described(f"Marks frame {frame} (counted from 0): {why}.", levels=levels)


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
            columns[f"{name}_{suffix}"] = described(f"{expansion} of {name}. {what}", units)
        if name in MOTION_NAMES:
            columns[f"{name}_sd"] = described(
                f"Standard deviation of {name}: how well the frame's noise and detail determine it."
                " Not known (n/a) where the head was lost.",
                unit,
            )
    return columns


def _plain_columns(settings: ConfoundSettings) -> dict[str, dict[str, Any]]:
    unknown = (
        f" Into and out of a lost frame the step is unknown and given as {UNKNOWN_STEP_MM:g} mm at"
        " least, so that thresholds find it: leave these out of means."
    )
    of_fd = {"radius": settings.fd_radius, "threshold": settings.fd_threshold}
    kept = {"0": "keep", "1": "leave out"}
    columns = {
        f"trans_{axis}": described(
            f"Translation of the brain's centre along {axis} (RAS), from the reference to the"
            " frame.",
            "mm",
        )
        for axis in "xyz"
    }
    columns |= {
        f"rot_{axis}": described(
            f"Rotation about {axis} (RAS) and the brain's centre, from the reference to the frame:"
            " component of the rotation vector (axis times angle).",
            "rad",
        )
        for axis in "xyz"
    }
    return columns | {
        "global_signal": described(
            "Mean of the corrected series within the brain mask, of what the frame saw.",
            "arbitrary",
        ),
        "std_dvars": described(
            "Standardised DVARS: DVARS as a multiple of what the voxels' robust standard deviation"
            " and lag-1 autocorrelation let expect of so many frames; 1 is noise alone.",
            "1",
            method="Nichols 2013, corrected for the number of frames",
            threshold=settings.dvars_threshold,
        ),
        "dvars": described(
            "Root mean square change of the corrected series since the frame before, within the"
            " brain mask whose median is scaled to 1000, where both frames saw the place.",
            "arbitrary",
            method="Power et al. 2012",
        ),
        "framewise_displacement": described(
            "Sum of absolute changes of the six motion parameters since the frame before, a radian"
            f" taken as {settings.fd_radius:g} mm.{unknown}",
            "mm",
            method="Power et al. 2012",
            **of_fd,
        ),
        "framewise_displacement_corrected": described(
            "The same, of the corrected series registered again: what correction left. Not known"
            " (n/a) beside a lost frame.",
            "mm",
            **of_fd,
        ),
        "rmsd": described(
            "Root mean square displacement since the frame before of the points of a ball of"
            f" {settings.rmsd_radius:g} mm about the brain's centre.{unknown}",
            "mm",
            method="Jenkinson 1999",
            radius=settings.rmsd_radius,
        ),
        "similarity": described(
            "Correlation of the frame with the template at its pose. Not known (n/a) for a frame"
            " without an image.",
            "1",
        ),
        "motion_status": described(
            "How the pose of the frame was found.",
            levels={
                "ok": "registered to the template",
                "searched": "registered after a search of all rotations",
                "bridged": "not registered: the pose rests on the frames before and after",
                "lost": "no pose to believe: the parameters are a guess, the frame is unusable",
            },
        ),
        "censor": described(
            "Whether the frame is recommended to be left out: it is not in steady state"
            " (non_steady_state_outlier), is bridged or lost (motion_status), has a"
            f" framewise_displacement above {settings.fd_threshold:g} mm, or a std_dvars above"
            f" {settings.dvars_threshold:g}.",
            levels=kept,
        ),
        "censor_uncorrected": described(
            "Whether the frame has what correction could not undo: it is not in steady state, is"
            " bridged or lost, still moves in the corrected series by more than"
            f" {settings.fd_threshold:g} mm (framewise_displacement_corrected), has a std_dvars"
            f" above {settings.dvars_threshold:g}, or saw less than {COVERAGE.least:g} of the brain"
            " (slice_coverage, where slices were followed). Displacement alone is no reason, unlike"
            " in censor.",
            levels=kept,
        ),
    }

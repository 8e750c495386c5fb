"""Distortion of one file: its phase-encode axis, the field, and what is written of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from unimo_bids.errors import InputError
from unimo_bids.files.fields import write_shift_field
from unimo_bids.files.objects import read_object
from unimo_bids.files.series import Series
from unimo_bids.files.writing import write_volume
from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.words import GRID_AXES, Deformation, grid_axis

if TYPE_CHECKING:
    from unimo_bids.deformation.field_map import FieldMap
    from unimo_bids.motion.distortion.estimation import Bent

UNDER_SLICES = (
    "No distortion was looked for: frames are made from slices, which no field is put under yet."
)


def phase_encode_axis(series: Series, how: Deformation, given: str | None) -> int | None:
    """Phase-encode axis of the grid: as given, else from the JSON file or the header.

    None where it is not known, or not wanted; refused if it has to be known.
    """
    if how == "none":
        return None
    axis = GRID_AXES.index(given) if given is not None else _written_axis(series)
    if axis is None and how == "epi":
        finding = "neither its header nor a JSON file beside it says which axis is phase-encoded"
        raise InputError(series.path, finding, "give --phase-encoding i, j or k")
    return axis


def _written_axis(series: Series) -> int | None:
    path = Path(series.path)
    sidecar = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    if sidecar.exists():
        said = read_object(sidecar, "correct the file, or give --phase-encoding")
        direction = grid_axis(said.get("PhaseEncodingDirection"))
        if direction is not None:
            return direction
    axis: int | None = series.header.get_dim_info()[1]
    return axis


def seek_distortion(
    series: Series,
    motion: MotionEstimate,
    how: Deformation,
    axis: int | None,
    field_map: FieldMap | None = None,
) -> Bent:
    """Look for distortion along the phase-encode axis, if that is known."""
    from unimo_bids.motion.distortion.estimation import (  # few calls need it
        Bent,
        estimate_distortion,
    )

    if axis is None:
        unknown = "No distortion was looked for: the phase-encode axis is not known."
        return Bent(motion, None, unknown)
    return estimate_distortion(series, series.affine, motion, axis, how, field_map=field_map)


def about_distortion(bent: Bent) -> dict[str, Any]:
    """Entry of the summary."""
    said: dict[str, Any] = {"finding": bent.finding, "corrected": bent.distortion is not None}
    if bent.measured:
        said["field_map"] = True
    said["less_left"] = {
        GRID_AXES[axis]: round(less, 4) for axis, less in sorted(bent.less.items())
    }
    if bent.distortion is not None:
        field = bent.distortion.field
        inside = torch.from_numpy(bent.motion.mask) > 0.5
        said["axis"] = GRID_AXES[field.axis]
        said["largest_shift_mm"] = round(float(field.shift[inside].abs().max()), 2)
        said["least_density"] = round(float(field.density[inside].min()), 2)
    return said


def write_distortion(series: Series, bent: Bent, places: Mapping[str, Path]) -> None:
    """Write the field's coefficients, and a map of its displacements, mm."""
    if bent.distortion is not None:
        field = bent.distortion.field
        write_shift_field(places["distortion"], field)
        write_volume(places["shift"], field.shift.numpy(), series)

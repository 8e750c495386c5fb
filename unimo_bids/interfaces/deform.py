"""Distortion that bends the head as it moves."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from unimo_bids.words import Deformation, FieldMapKind

if TYPE_CHECKING:
    from unimo_bids.deformation.field_map import FieldMap


class _SeekInput(BaseInterfaceInputSpec):
    in_file = File(mandatory=True, desc="raw series, or what PrepareRun kept of it")
    motion = File(exists=True, mandatory=True, desc="of EstimateMotion")
    transforms = File(exists=True, mandatory=True, desc="of EstimateMotion")
    slices = File(exists=True, desc="of FollowSlices: no field is put under slices")
    axis = traits.Int(mandatory=True, desc="phase-encode axis of the grid")
    field_map = InputMultiObject(
        File(exists=True), desc="measured; instead, where frames agree better with it"
    )
    kind = traits.Enum(*get_args(FieldMapKind), usedefault=True, desc="what it is")
    magnitude = File(exists=True, desc="image that goes with it")
    scale = traits.Float(1.0, usedefault=True, desc="Hz of one of its unit; s between echoes")
    readout = traits.Float(desc="total readout time, s; negative against the axis")
    how = traits.Enum(*get_args(Deformation), mandatory=True)


class _SeekOutput(TraitedSpec):
    motion = File(exists=True, desc="poses under the field, where there is one")
    transforms = File(exists=True, desc="the same")
    distortion = File(exists=True, desc="the field by its coefficients; only where it is worth it")
    displacement = File(exists=True, desc="map, mm along the axis; with the field")
    about = traits.Dict(desc="what was decided, and why")


class SeekDistortion(SimpleInterface):
    """Look for a field in the scanner that bends the head, from the poses of the frames."""

    input_spec = _SeekInput
    output_spec = _SeekOutput

    def _run_interface(self, runtime: Any) -> Any:
        from unimo_bids.files.mapped import open_series
        from unimo_bids.interfaces.results import read_motion, write_motion
        from unimo_bids.pipeline.distortion import (
            UNDER_SLICES,
            about_distortion,
            seek_distortion,
            write_distortion,
        )

        here, inputs, results = Path(runtime.cwd), self.inputs, self._results
        results["motion"], results["transforms"] = inputs.motion, inputs.transforms
        if isdefined(inputs.slices):
            results["about"] = {"finding": UNDER_SLICES, "corrected": False}
            return runtime
        series = open_series(inputs.in_file)
        field_map, unread = self._field_map()
        motion = read_motion(inputs.motion)
        bent = seek_distortion(series, motion, inputs.how, inputs.axis, field_map)
        bent = replace(bent, finding=unread + bent.finding)
        logging.getLogger("nipype.interface").info("%s: %s", series.path, bent.finding)
        results["about"] = about_distortion(bent)
        if bent.distortion is None:
            return runtime
        results |= write_motion(here, bent.motion)
        places = {"distortion": here / "distortion.json", "shift": here / "displacement.nii.gz"}
        write_distortion(series, bent, places)
        results["distortion"], results["displacement"] = map(str, places.values())
        return runtime

    def _field_map(self) -> tuple[FieldMap | None, str]:
        """Read the measured field map; if that fails, return why, as it is not required."""
        from unimo_bids.errors import InputError
        from unimo_bids.pipeline.field_maps import read_field_map
        from unimo_bids.pipeline.measured_field import MeasuredField

        inputs = self.inputs
        if not isdefined(inputs.field_map):
            return None, ""
        magnitude = Path(inputs.magnitude) if isdefined(inputs.magnitude) else None
        paths = tuple(map(Path, inputs.field_map))
        measured = MeasuredField(inputs.kind, paths, magnitude, inputs.scale, inputs.readout)
        try:
            return read_field_map(measured), ""
        except InputError as error:
            return None, f"The field map is not used. {error} "

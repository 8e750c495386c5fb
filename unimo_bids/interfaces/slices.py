"""Motion within frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)


class _FollowInput(BaseInterfaceInputSpec):
    in_file = File(mandatory=True, desc="raw series, or what PrepareRun kept of it")
    motion = File(exists=True, mandatory=True, desc="of EstimateMotion")
    transforms = File(exists=True, mandatory=True, desc="of EstimateMotion")
    metadata = traits.Dict(mandatory=True, desc="what sidecars say of slices")
    repetition_time = traits.Either(None, traits.Float, usedefault=True, desc="s, if even")
    intensity_correction = traits.Bool(
        True, usedefault=True, desc="look at spin history and coils' gain"
    )
    required = traits.Bool(False, usedefault=True, desc="follow slices whatever they are worth")


class _FollowOutput(TraitedSpec):
    motion = File(exists=True, desc="frames that slices save are ok")
    transforms = File(exists=True, desc="the same")
    slices = File(exists=True, desc="poses and gains of slices; only where they are worth it")
    table = File(exists=True, desc="a line per slice; with slices")
    metadata = File(exists=True, desc="JSON that explains every column; with slices")
    warnings = traits.List(traits.Str)


class FollowSlices(SimpleInterface):
    """Follow the head through all slices, from the poses of the frames."""

    input_spec = _FollowInput
    output_spec = _FollowOutput

    def _run_interface(self, runtime: Any) -> Any:
        from unimo_bids.files.mapped import open_series
        from unimo_bids.pipeline.slices import series_slice_times, volume_wise

        inputs, results = self.inputs, self._results
        results["motion"], results["transforms"] = inputs.motion, inputs.transforms
        results["warnings"] = []
        series = open_series(inputs.in_file)
        try:
            times = series_slice_times(inputs.metadata, series, inputs.repetition_time)
        except ValueError as why:
            results["warnings"] = [volume_wise(why)]
            return runtime
        self._follow(Path(runtime.cwd), series, times)
        return runtime

    def _follow(self, here: Path, series: Any, times: Any) -> None:
        from unimo_bids.files.objects import write_object
        from unimo_bids.files.tables import write_table
        from unimo_bids.interfaces.results import read_motion, write_arrays, write_motion
        from unimo_bids.motion.slices.estimation import (
            estimate_slices,
            may_move_within,
            saved_by_slices,
        )
        from unimo_bids.pipeline.rebuilt import SliceResult
        from unimo_bids.pipeline.slices import (
            describe_slices,
            excitation_of,
            order_warnings,
            slice_columns,
        )

        results = self._results
        motion = read_motion(self.inputs.motion)
        if not (self.inputs.required or may_move_within(motion)):
            return
        excitation, unknown = None, list[str]()
        if self.inputs.intensity_correction:
            excitation, unknown = excitation_of(self.inputs.metadata, times.repetition_time)
        slices = estimate_slices(series, series.affine, motion, times, excitation)
        results["warnings"] = order_warnings(slices)
        if not (self.inputs.required or slices.worth(motion)):
            return
        results["warnings"] += unknown
        results |= write_motion(here, saved_by_slices(motion, slices))
        corrected = self.inputs.intensity_correction
        found = SliceResult.of(slices, motion, excitation, receive=corrected)
        results["slices"] = write_arrays(here / "slices.npz", found)
        table, metadata = here / "slices.tsv", here / "slices.json"
        write_table(table, slice_columns(slices))
        write_object(metadata, describe_slices())
        results["table"], results["metadata"] = str(table), str(metadata)

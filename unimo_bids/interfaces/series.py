"""The series without motion."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from unimo_bids.interfaces.results import DEVICE, SLICE_TIME_REF
from unimo_bids.words import Interpolation

if TYPE_CHECKING:
    from unimo_bids.files.series import Series
    from unimo_bids.motion.correction import Then
    from unimo_bids.spatial.warp import Warp


class _ResampleInput(BaseInterfaceInputSpec):
    in_files = InputMultiObject(
        File(), mandatory=True, desc="raw series by echo, or what PrepareRun kept of them"
    )
    motion = File(exists=True, mandatory=True, desc="estimate of EstimateMotion")
    dummy_scans = traits.Either(
        None, traits.Int, usedefault=True, desc="frames at the start to leave out; None to detect"
    )
    repetition_time = traits.Either(None, traits.Float, usedefault=True, desc="s, for the header")
    interpolation = traits.Enum(*get_args(Interpolation), usedefault=True)
    slices = File(exists=True, desc="of FollowSlices: frames are made from slices where they were")
    distortion = File(exists=True, desc="of SeekDistortion: undone in the same resampling")
    slice_time_ref = SLICE_TIME_REF
    metadata = traits.Dict(usedefault=True, desc="what sidecars say of slices")
    device = DEVICE
    use_gpu = traits.Bool(False, usedefault=True, desc="takes a GPU slot")


class _ResampleOutput(TraitedSpec):
    out_files = OutputMultiObject(File(exists=True), desc="corrected series, by echo")
    first = File(exists=True, desc="corrected series of the first echo")
    non_steady = traits.Int(desc="frames at the start that are left out, as in tSNR")
    tsnr_before = File(exists=True, desc="of the first echo")
    tsnr_after = File(exists=True, desc="of the first echo")
    similarity = File(exists=True, desc="JSON: before and after, of each frame of the first echo")
    coverage = File(exists=True, desc="4D, per cent, how well slices covered the first echo")
    about_brightness = traits.Dict(desc="spin history and coils' gain, as found; with slices")
    history = traits.List(traits.Float, desc="change by it in every frame; with slices")
    about_time = traits.Dict(desc="where frames were interpolated in time, as sidecars have it")
    warnings = traits.List(traits.Str)


class ResampleSeries(SimpleInterface):
    """Undo the motion of all echoes, each resampled once from its raw frames."""

    input_spec = _ResampleInput
    output_spec = _ResampleOutput

    def _run_interface(self, runtime: Any) -> Any:
        from unimo_bids.devices import torch_device
        from unimo_bids.files.mapped import open_series
        from unimo_bids.files.series import timed
        from unimo_bids.files.writing import write_volume
        from unimo_bids.interfaces.results import read_distortion, read_motion, read_slices
        from unimo_bids.motion.correction import moving
        from unimo_bids.pipeline.rebuilt import Rebuilt
        from unimo_bids.pipeline.steps import non_steady_frames, resample

        here, inputs, results = Path(runtime.cwd), self.inputs, self._results
        motion = read_motion(inputs.motion)
        bends = read_distortion(inputs.distortion) if isdefined(inputs.distortion) else None
        results["warnings"], results["about_time"] = [], {}
        corrected = [here / f"corrected-{number}.nii.gz" for number in range(len(inputs.in_files))]
        for path, raw in zip(corrected, inputs.in_files, strict=True):
            series = timed(open_series(raw), inputs.repetition_time)
            if path == corrected[0]:
                results["non_steady"] = non_steady_frames(series, inputs.dummy_scans)
            frames = None
            if isdefined(inputs.slices):
                found = read_slices(inputs.slices)
                frames = Rebuilt(series, series.grid, found, motion)
            warps = moving(motion.poses, bends) if frames is None else found.warps(series.grid)
            comparison = resample(
                path,
                series,
                motion,
                distortion=bends,
                non_steady=results["non_steady"],
                interpolation=inputs.interpolation,
                device=torch_device(inputs.device),
                instead=None if frames is None else iter(frames),
                then=self._in_time(series, warps, results["non_steady"]),
            )
            if path != corrected[0]:
                continue
            if frames is not None:
                results["coverage"] = str(here / "coverage.nii.gz")
                write_volume(results["coverage"], frames.coverage, series)
                results["about_brightness"] = frames.about_brightness()
                results["history"] = frames.history_rms.tolist()
            for name, volume in zip(("tsnr_before", "tsnr_after"), comparison.tsnr(), strict=True):
                results[name] = str(here / f"{name}.nii.gz")
                write_volume(results[name], volume, series)
            before, after = (values.tolist() for values in comparison.similarity)
            similarity = here / "similarity.json"
            similarity.write_text(json.dumps({"before": before, "after": after}))
            results["similarity"] = str(similarity)
        results["out_files"] = [str(path) for path in corrected]
        results["first"] = str(corrected[0])
        return runtime

    def _in_time(self, series: Series, warps: Sequence[Warp], non_steady: int) -> Then | None:
        """What interpolates frames in time, if that was asked for and slice times are known."""
        from unimo_bids.pipeline.in_time import NOT_IN_TIME, about_time, even_times, in_time

        if self.inputs.slice_time_ref is None:
            return None
        try:
            even = even_times(self.inputs.metadata, series, self.inputs.slice_time_ref)
        except ValueError as why:
            self._results["warnings"] = [NOT_IN_TIME.format(why)]
            return None
        self._results["about_time"] = about_time(even)
        return in_time(even, series, non_steady, warps)

"""The series without motion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

from nipype.interfaces.base import (
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from unimo_bids.interfaces.results import OnDevice
from unimo_bids.words import Interpolation


class ResampleInput(OnDevice):
    """Series to resample, and the poses, slices and fields to do it by."""

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
    slice_time_ref = traits.Either(
        None, traits.Float, usedefault=True, desc="moment of a frame, 0 to 1; None: own times"
    )
    metadata = traits.Dict(usedefault=True, desc="what sidecars say of slices")


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

    input_spec = ResampleInput
    output_spec = _ResampleOutput

    def _run_interface(self, runtime: Any) -> Any:
        from unimo_bids.devices import torch_device
        from unimo_bids.files.mapped import open_series
        from unimo_bids.files.series import timed
        from unimo_bids.files.writing import write_volume
        from unimo_bids.interfaces.results import read_distortion, read_motion, read_slices
        from unimo_bids.motion.correction import moving, write_corrected
        from unimo_bids.pipeline.in_time import about_time, even_times, in_time
        from unimo_bids.pipeline.rebuilt import Rebuilt
        from unimo_bids.pipeline.steps import non_steady_frames

        here, inputs, results = Path(runtime.cwd), self.inputs, self._results
        # an output that is not set takes away the empty default of the input it is connected to
        results |= {"about_brightness": {}, "history": []}
        motion = read_motion(inputs.motion)
        bends, slices = read_distortion(inputs.distortion), read_slices(inputs.slices)
        corrected = [here / f"corrected-{number}.nii.gz" for number in range(len(inputs.in_files))]
        for path, raw in zip(corrected, inputs.in_files, strict=True):
            series = timed(open_series(raw), inputs.repetition_time)
            if path == corrected[0]:
                results["non_steady"] = non_steady_frames(series, inputs.dummy_scans)
            frames, warps = None, moving(motion.poses, bends)
            if slices is not None:
                frames = Rebuilt(series, series.grid, slices, motion)
                warps = [*slices.warps(series.grid)]
            even, why_not = even_times(inputs.metadata, series, inputs.slice_time_ref)
            results["warnings"] = why_not
            results["about_time"] = {} if even is None else about_time(even)
            comparison = write_corrected(
                path,
                series,
                motion,
                distortion=bends,
                non_steady=results["non_steady"],
                interpolation=inputs.interpolation,
                device=torch_device(inputs.device),
                instead=None if frames is None else iter(frames),
                then=in_time(even, series, results["non_steady"], warps),
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

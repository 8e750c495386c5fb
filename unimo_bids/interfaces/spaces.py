"""A run in standard spaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, OutputMultiObject, SimpleInterface, TraitedSpec, traits

from unimo_bids.interfaces.series import ResampleInput


class _CarryInput(ResampleInput):
    probability = File(exists=True, mandatory=True, desc="the brain, soft")
    entities = traits.Str(mandatory=True, desc="what the run is called")
    output_spaces = traits.List(traits.Str, mandatory=True, desc="as asked for")
    template = traits.List(traits.Str, mandatory=True, desc="one's own, FILE or FILE:MASK")
    anatomy = traits.Any(None, usedefault=True, desc="Anatomy that leads to standard spaces")
    age = traits.Either(None, traits.Float, usedefault=True, desc="weeks, of a fetus")
    series = traits.Bool(True, usedefault=True, desc="write the series, not only its image")


class _CarryOutput(TraitedSpec):
    files = OutputMultiObject(
        File(exists=True), desc="of each space: series by echo, image, mask, transform"
    )
    about = traits.Dict(desc="by space: how the run got there, for the sidecars")
    warnings = traits.List(traits.Str)
    figures = traits.List(File(exists=True), desc="one of all spaces")


class CarryToSpaces(SimpleInterface):
    """Find the way to every standard space, and resample the raw frames there once."""

    input_spec = _CarryInput
    output_spec = _CarryOutput

    def _run_interface(self, runtime: Any) -> Any:
        from unimo_bids.devices import torch_device
        from unimo_bids.files.mapped import open_series
        from unimo_bids.files.series import read_mask, timed
        from unimo_bids.interfaces.results import read_distortion, read_motion, read_slices
        from unimo_bids.motion.correction import moving
        from unimo_bids.pipeline.in_time import even_times, in_time
        from unimo_bids.pipeline.spaces import carry, read_templates, write_carried, write_images
        from unimo_bids.pipeline.steps import non_steady_frames
        from unimo_bids.reports.figures.spaces import draw_spaces
        from unimo_bids.reports.reportlets import reportlet

        here, inputs = Path(runtime.cwd), self.inputs
        motion, device = read_motion(inputs.motion), torch_device(inputs.device)
        bends, slices = read_distortion(inputs.distortion), read_slices(inputs.slices)
        how: dict[str, Any] = {"slices": slices, "distortion": bends, "device": device}
        asked, anatomy = inputs.output_spaces, inputs.anatomy
        templates = read_templates(asked, inputs.template, inputs.age, anatomy)
        first = open_series(inputs.in_files[0])
        brain = read_mask(inputs.probability, first)
        found = carry(templates, asked, motion, brain, first.grid, device, anatomy)
        places = [here / one.space.entities for one in found]
        series: dict[Path, list[Path]] = {place: [] for place in places}
        for number, raw in enumerate(inputs.in_files if inputs.series else ()):
            warps = moving(motion.poses, bends) if slices is None else slices.warps(first.grid)
            echo = timed(open_series(raw), inputs.repetition_time)
            even, _ = even_times(inputs.metadata, echo, inputs.slice_time_ref)
            steady = 0 if even is None else non_steady_frames(echo, inputs.dummy_scans)
            for place, one in zip(places, found, strict=True):
                series[place].append(Path(f"{place}_bold-{number}.nii.gz"))
                then = in_time(even, echo, steady, warps, one.grid, one.pose.warp)
                write_carried(echo, motion, one, series[place][-1], then=then, **how)
        files: list[Path] = []
        for place, one in zip(places, found, strict=True):
            way = one.space.xfm if one.through is None else "xfm.txt"
            ends = ("boldref.nii.gz", "mask.nii.gz", way)
            images = [Path(f"{place}_{end}") for end in ends]
            write_images(first, one, *images)
            files += [*series[place], *images]
        figure = reportlet(here, inputs.entities, "spaces", "svg")
        draw_spaces(figure, found)
        self._results["files"] = [str(path) for path in files]
        self._results["about"] = {str(one.space): one.facts() for one in found}
        self._results["warnings"] = [warning for one in found for warning in one.warnings]
        self._results["figures"] = [str(figure)]
        return runtime

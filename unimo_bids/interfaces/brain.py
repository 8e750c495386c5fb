"""Which frame to start from, and where the brain is in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from unimo_bids.interfaces.results import DEVICE
from unimo_bids.words import RunBrainMethod

if TYPE_CHECKING:
    from unimo_bids.brain.mask import BrainMask
    from unimo_bids.brain.run import SeriesBrain
    from unimo_bids.files.series import Series


class _ReferenceInput(BaseInterfaceInputSpec):
    in_file = File(mandatory=True, desc="series")
    frame = traits.Either(None, traits.Int, usedefault=True, desc="the one asked for")
    reference_file = File(desc="a volume scanned apart that takes its place")
    after = traits.Bool(desc="the series was found usable")


class _ReferenceOutput(TraitedSpec):
    reference = traits.Int(desc="frame that poses are relative to")
    volume = File(exists=True, desc="the reference")


class FindReference(SimpleInterface):
    """Take a frame from the stretch of lowest motion, or what was asked for."""

    input_spec = _ReferenceInput
    output_spec = _ReferenceOutput

    def _run_interface(self, runtime: Any) -> Any:
        from unimo_bids.files.series import read_series, read_volume
        from unimo_bids.files.writing import write_volume
        from unimo_bids.pipeline.steps import choose_reference

        series = read_series(self.inputs.in_file)
        if isdefined(self.inputs.reference_file):
            reference, volume = 0, read_volume(self.inputs.reference_file, series)
        else:
            frame = self.inputs.frame
            reference = choose_reference(series, "auto" if frame is None else frame)
            volume = series.frame(reference)
        self._results["reference"] = reference
        self._results["volume"] = str(Path(runtime.cwd) / "reference.nii.gz")
        write_volume(self._results["volume"], volume, series)
        return runtime


class _BrainInput(BaseInterfaceInputSpec):
    in_file = File(mandatory=True, desc="series")
    volume = File(exists=True, mandatory=True, desc="the reference")
    reference = traits.Int(mandatory=True, desc="its frame")
    given_mask = File(exists=True, desc="of another program, 3D or 4D")
    method = traits.Enum(*get_args(RunBrainMethod), usedefault=True)
    population = traits.Either(None, traits.Str, usedefault=True, desc="if it is known")
    center = traits.Either(None, traits.Str, usedefault=True, desc="a place in it, as told")
    center_reason = traits.Str(usedefault=True, desc="where that is from")
    follow = traits.Bool(False, usedefault=True, desc="through all frames, whosoever it is")
    device = DEVICE
    use_gpu = traits.Bool(False, usedefault=True, desc="takes a GPU slot")


class _BrainOutput(TraitedSpec):
    mask = File(exists=True, desc="brain in the reference")
    probability = File(exists=True, desc="the same, soft")
    motion_mask = File(
        desc="what registration looks at, 3D or one per frame; undefined for everything but air"
    )
    still_mask = File(desc="the same once the motion is undone: never one per frame")
    radius = traits.Float(desc="mm, of a ball with the brain's volume")
    population = traits.Str(desc="fetal, infant or adult")
    population_reason = traits.Str(desc="where that is from")
    method = traits.Str(desc="how the brain was found")
    warnings = traits.List(traits.Str)
    about = traits.Dict(desc="what is known of it, as JSON can hold it; see `_sidecar`")


class FindBrain(SimpleInterface):
    """Take the brain mask that there is, else find the brain in the reference.

    The brain of a fetus is followed through all frames: its masks tell registration where to begin.
    """

    input_spec = _BrainInput
    output_spec = _BrainOutput

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from unimo_bids.files.series import read_series
        from unimo_bids.files.writing import write_volume

        here, inputs, results = Path(runtime.cwd), self.inputs, self._results
        series = read_series(inputs.in_file)
        found = self._brain(series)
        brain = found.brain
        for name, volume in (
            ("mask", brain.mask.astype(np.uint8)),
            ("probability", brain.probability),
        ):
            results[name] = str(here / f"{name}.nii.gz")
            write_volume(results[name], volume, series)
        if brain.usable:
            results["motion_mask"] = results["still_mask"] = results["probability"]
        if isdefined(inputs.given_mask):
            results["motion_mask"] = inputs.given_mask
        elif found.frame_masks is not None:
            results["motion_mask"] = str(here / "masks.nii.gz")
            write_volume(results["motion_mask"], found.frame_masks, series)
        results["radius"] = float(brain.radius_mm)
        results["method"] = brain.method
        results["population"] = found.population
        results["population_reason"] = "" if inputs.population else "the brain's size"
        results["warnings"] = found.warnings
        results["about"] = _sidecar(brain)
        if inputs.center is not None:
            where = {"BrainCenter": inputs.center, "BrainCenterSource": inputs.center_reason}
            results["about"] |= where
        return runtime

    def _brain(self, series: Series) -> SeriesBrain:
        from unimo_bids.devices import torch_device
        from unimo_bids.errors import InputError
        from unimo_bids.files.series import read_volume
        from unimo_bids.pipeline.steps import find_brain, read_brain

        inputs = self.inputs
        if isdefined(inputs.given_mask):
            return read_brain(inputs.given_mask, series, inputs.reference, inputs.population)
        if inputs.method == "derivatives":
            finding = "no folder of --derivatives holds a brain mask for it"
            raise InputError(inputs.in_file, finding, "add one, or choose --brain-extraction auto")
        return find_brain(
            series,
            inputs.reference,
            read_volume(inputs.volume, series),
            inputs.method,
            population=inputs.population,
            place=inputs.center,
            place_from=inputs.center_reason,
            follow=inputs.follow,
            device=torch_device(inputs.device),
        )


def _sidecar(brain: BrainMask) -> dict[str, Any]:
    """How the brain was found, as the JSON file of its mask says it."""
    from unimo_bids.pipeline.steps import brain_facts

    facts = brain_facts(brain)
    facts["candidates"] = [
        {
            "Center": candidate["center_mm"],
            "Volume": candidate["volume_ml"],
            "Confidence": candidate["confidence"],
        }
        for candidate in facts["candidates"]
    ]
    return {f"Brain{name.title()}": value for name, value in facts.items() if value is not None}

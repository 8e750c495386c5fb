"""What registration needs to know of a run: is it usable, where to start, where the brain is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from nipype.interfaces.base import (
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from unimo_bids.interfaces.results import OnDevice
from unimo_bids.words import RunBrainMethod

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from unimo_bids.brain.mask import BrainMask
    from unimo_bids.brain.run import SeriesBrain
    from unimo_bids.files.series import Series


class _PrepareInput(OnDevice):
    # Raw files need not exist when the workflow is made: one that is missing fails its run alone.
    in_files = InputMultiObject(File(), mandatory=True, desc="raw series, by echo")
    frame = traits.Either(None, traits.Int, usedefault=True, desc="reference; None for a still one")
    slice_axis = traits.Either(
        None, traits.Int, usedefault=True, desc="of the slices; None for the header's"
    )
    reference_file = File(desc="a volume scanned apart that takes its place")
    given_mask = File(exists=True, desc="of another program, 3D or 4D")
    method = traits.Enum(*get_args(RunBrainMethod), usedefault=True)
    population = traits.Either(None, traits.Str, usedefault=True, desc="if it is known")
    center = traits.Either(None, traits.Str, usedefault=True, desc="a place in the brain")
    center_reason = traits.Str(usedefault=True, desc="where that is from")
    follow = traits.Bool(False, usedefault=True, desc="the brain through all frames in any case")


class _PrepareOutput(TraitedSpec):
    series = OutputMultiObject(
        File(exists=True), desc="by echo, unpacked and repaired: what all other steps look at"
    )
    first = File(exists=True, desc="that of the first echo")
    series_warnings = traits.List(traits.Str, desc="what was repaired, a sentence each")
    reference = traits.Int(desc="frame that poses are relative to")
    volume = File(exists=True, desc="the reference")
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
    brain_warnings = traits.List(traits.Str)
    about_brain = traits.Dict(desc="what is known of it, for the JSON file of its mask")


class PrepareRun(SimpleInterface):
    """Refuse what cannot be corrected, choose a reference, find the brain or take the given mask.

    The brain of a fetus is followed through all frames: its masks tell registration where to begin.
    """

    input_spec = _PrepareInput
    output_spec = _PrepareOutput

    def _run_interface(self, runtime: Any) -> Any:
        from unimo_bids.files.mapped import SUFFIX, keep_series
        from unimo_bids.files.series import read_volume
        from unimo_bids.pipeline.steps import choose_reference, read_echoes

        inputs, results = self.inputs, self._results
        here = Path(runtime.cwd)
        kept: list[str] = []

        def keep(echo: Series) -> None:
            if inputs.slice_axis is not None:
                echo = replace(echo, slice_axis=inputs.slice_axis)
            kept.append(str(keep_series(here / f"echo-{len(kept)}{SUFFIX}", echo)))

        series, results["series_warnings"] = read_echoes(inputs.in_files, keep)
        results["series"], results["first"] = kept, kept[0]
        if isdefined(inputs.reference_file):
            reference, volume = 0, read_volume(inputs.reference_file, series)
        else:
            frame = inputs.frame
            reference = choose_reference(series, "auto" if frame is None else int(frame))
            volume = series.frame(reference)
        found = self._brain(series, reference, volume)
        self._write(here, series, volume, found)
        results["reference"] = reference
        results["radius"] = float(found.brain.radius_mm)
        results["method"] = found.brain.method
        results["population"] = found.population
        results["population_reason"] = "" if inputs.population else "the brain's size"
        results["brain_warnings"] = found.warnings
        results["about_brain"] = _sidecar(found.brain)
        if inputs.center is not None:
            where = {"BrainCenter": inputs.center, "BrainCenterSource": inputs.center_reason}
            results["about_brain"] |= where
        return runtime

    def _brain(self, series: Series, reference: int, volume: NDArray[Any]) -> SeriesBrain:
        from unimo_bids.brain.run import find_series_brain
        from unimo_bids.devices import torch_device
        from unimo_bids.errors import InputError
        from unimo_bids.pipeline.steps import read_brain

        inputs = self.inputs
        if isdefined(inputs.given_mask):
            return read_brain(inputs.given_mask, series, reference, inputs.population)
        if inputs.method == "derivatives":
            finding = "no folder of --derivatives holds a brain mask for it"
            remedy = "add one, or choose --brain-extraction auto"
            raise InputError(series.path, finding, remedy)
        return find_series_brain(
            series,
            reference,
            volume,
            inputs.method,
            population=inputs.population,
            place=inputs.center,
            place_from=inputs.center_reason,
            follow=inputs.follow,
            device=torch_device(inputs.device),
        )

    def _write(self, here: Path, series: Series, volume: NDArray[Any], found: SeriesBrain) -> None:
        import numpy as np

        from unimo_bids.files.writing import write_volume

        brain, results = found.brain, self._results
        volumes: dict[str, Any] = {
            "volume": volume,
            "mask": brain.mask.astype(np.uint8),
            "probability": brain.probability,
        }
        if found.frame_masks is not None:
            volumes["motion_mask"] = found.motion_mask
        for name, values in volumes.items():
            results[name] = str(here / f"{name}.nii.gz")
            write_volume(results[name], values, series)
        if isdefined(self.inputs.given_mask):
            results["motion_mask"] = self.inputs.given_mask
        if brain.usable:
            results["still_mask"] = results["probability"]
            results.setdefault("motion_mask", results["probability"])


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

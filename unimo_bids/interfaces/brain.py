"""Which frame to start from, and where the brain is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)


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
        from unimo_bids.errors import InputError
        from unimo_bids.files.series import read_series, read_volume
        from unimo_bids.files.writing import write_volume
        from unimo_bids.motion.series import find_reference

        series = read_series(self.inputs.in_file)
        if isdefined(self.inputs.reference_file):
            reference, volume = 0, read_volume(self.inputs.reference_file, series)
        else:
            frame = self.inputs.frame
            frames = series.shape[3]
            if frame is not None and not 0 <= frame < frames:
                finding = f"there is no frame {frame} (they are 0 to {frames - 1})"
                raise InputError(self.inputs.in_file, finding, "choose another --reference")
            reference = find_reference(series, series.affine) if frame is None else frame
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
    population = traits.Either(None, traits.Str, usedefault=True, desc="if it is known")


class _BrainOutput(TraitedSpec):
    mask = File(exists=True, desc="brain in the reference")
    probability = File(exists=True, desc="the same, soft")
    motion_mask = File(desc="what registration looks at; undefined for everything but air")
    still_mask = File(desc="the same once the motion is undone: never one per frame")
    radius = traits.Float(desc="mm, of a ball with the brain's volume")
    population = traits.Str(desc="fetal, infant or adult")
    population_reason = traits.Str(desc="where that is from")
    method = traits.Str(desc="how the brain was found")
    warnings = traits.List(traits.Str)


class FindBrain(SimpleInterface):
    """Take the brain mask that there is, else find the brain in the reference."""

    input_spec = _BrainInput
    output_spec = _BrainOutput

    def _run_interface(self, runtime: Any) -> Any:
        import numpy as np

        from unimo_bids.brain.extraction import find_brain, population_of_size
        from unimo_bids.brain.given import given_brain
        from unimo_bids.errors import InputError
        from unimo_bids.files.series import read_mask, read_series, read_volume
        from unimo_bids.files.writing import write_volume
        from unimo_bids.motion.masks import too_small

        here = Path(runtime.cwd)
        series = read_series(self.inputs.in_file)
        results, warnings = self._results, []
        if isdefined(self.inputs.given_mask):
            mask = read_mask(self.inputs.given_mask, series)
            of_reference = mask[..., self.inputs.reference] if mask.ndim == 4 else mask
            fault = too_small(of_reference > 0.5, series.affine)
            if fault is not None:
                whose = "of the reference frame " if mask.ndim == 4 else ""
                finding, remedy = f"the mask {whose}{fault}", "give a mask that covers the brain"
                raise InputError(self.inputs.given_mask, finding, remedy)
            brain = given_brain(np.asarray(of_reference, dtype=np.float32), series.affine)
            results["motion_mask"] = self.inputs.given_mask
            results["still_mask"] = str(here / "probability.nii.gz")
        else:
            brain = find_brain(read_volume(self.inputs.volume, series), series.affine)
            if brain.confident:
                results["motion_mask"] = str(here / "probability.nii.gz")
                results["still_mask"] = results["motion_mask"]
            else:
                warnings.append(
                    "What was found does not look like a brain; motion is that of all tissue in"
                    " view. In a fetal run, give brain masks with --derivatives."
                )
        for name, volume in (
            ("mask", brain.mask.astype(np.uint8)),
            ("probability", brain.probability),
        ):
            results[name] = str(here / f"{name}.nii.gz")
            write_volume(results[name], volume, series)
        results["radius"] = float(brain.radius_mm)
        results["method"] = brain.method
        results["population"] = self.inputs.population or population_of_size(brain.radius_mm)
        results["population_reason"] = "" if self.inputs.population else "the brain's size"
        results["warnings"] = warnings
        return runtime

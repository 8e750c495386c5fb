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
        from unimo_bids.brain.head import refusing
        from unimo_bids.errors import InputError
        from unimo_bids.files.series import read_series, read_volume
        from unimo_bids.files.writing import write_volume
        from unimo_bids.motion.estimation import find_reference

        series = read_series(self.inputs.in_file)
        if isdefined(self.inputs.reference_file):
            reference, volume = 0, read_volume(self.inputs.reference_file, series)
        else:
            frame = self.inputs.frame
            frames = series.shape[3]
            if frame is not None and not 0 <= frame < frames:
                finding = f"there is no frame {frame} (they are 0 to {frames - 1})"
                raise InputError(self.inputs.in_file, finding, "choose another --reference")
            with refusing(self.inputs.in_file):
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
    about = traits.Dict(desc="what is known of it, as JSON can hold it; see `_about`")


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

        here, given, results = Path(runtime.cwd), self.inputs, self._results
        series = read_series(given.in_file)
        found = self._given(series) if isdefined(given.given_mask) else self._found(series)
        brain = found.brain
        for name, volume in (
            ("mask", brain.mask.astype(np.uint8)),
            ("probability", brain.probability),
        ):
            results[name] = str(here / f"{name}.nii.gz")
            write_volume(results[name], volume, series)
        if brain.usable:
            results["motion_mask"] = results["still_mask"] = results["probability"]
        if isdefined(given.given_mask):
            results["motion_mask"] = given.given_mask
        elif found.frame_masks is not None:
            results["motion_mask"] = str(here / "masks.nii.gz")
            write_volume(results["motion_mask"], found.frame_masks, series)
        results["radius"] = float(brain.radius_mm)
        results["method"] = brain.method
        results["population"] = found.population
        results["population_reason"] = "" if given.population else "the brain's size"
        results["warnings"] = found.warnings
        results["about"] = _about(brain, given.center, given.center_reason)
        return runtime

    def _found(self, series: Series) -> SeriesBrain:
        """The brain that is looked for."""
        from unimo_bids.brain.head import refusing
        from unimo_bids.brain.place import locate
        from unimo_bids.brain.run import find_series_brain
        from unimo_bids.devices import torch_device
        from unimo_bids.errors import InputError
        from unimo_bids.files.series import read_volume

        given = self.inputs
        if given.method == "derivatives":
            finding = "no folder of --derivatives holds a brain mask for it"
            raise InputError(given.in_file, finding, "add one, or choose --brain-extraction auto")
        center = None
        if given.center is not None:
            center = locate(given.center, series, given.center_reason)
        with refusing(given.in_file):
            return find_series_brain(
                series,
                given.reference,
                read_volume(given.volume, series),
                given.method,
                population=given.population,
                center=center,
                follow=given.follow,
                device=torch_device(given.device),
            )

    def _given(self, series: Series) -> SeriesBrain:
        """The mask of another program, in the reference."""
        import numpy as np

        from unimo_bids.brain.head import too_small
        from unimo_bids.brain.mask import given_brain, population_of_size
        from unimo_bids.brain.run import SeriesBrain
        from unimo_bids.errors import InputError
        from unimo_bids.files.series import read_mask

        mask = read_mask(self.inputs.given_mask, series)
        of_reference = mask[..., self.inputs.reference] if mask.ndim == 4 else mask
        fault = too_small(of_reference > 0.5, series.affine)
        if fault is not None:
            whose = "of the reference frame " if mask.ndim == 4 else ""
            finding, remedy = f"the mask {whose}{fault}", "give a mask that covers the brain"
            raise InputError(self.inputs.given_mask, finding, remedy)
        brain = given_brain(np.asarray(of_reference, dtype=np.float32), series.affine)
        return SeriesBrain(brain, self.inputs.population or population_of_size(brain.radius_mm))


def _about(brain: BrainMask, center: str | None, center_reason: str) -> dict[str, Any]:
    """How a brain was found and what else may be it, for the JSON file of its mask."""
    from unimo_bids.brain.advice import confidence

    about: dict[str, Any] = {
        "BrainMethod": brain.method,
        "BrainDoubts": list(brain.doubts),
        "BrainCandidates": [
            {
                "Center": [round(float(x), 1) for x in one.center],
                "Volume": round(float(one.volume), 1),
                "Confidence": round(float(one.confidence), 3),
            }
            for one in brain.candidates
        ],
    }
    sure = confidence(brain)
    if sure is not None:
        about["BrainConfidence"] = round(float(sure), 3)
    if center is not None:
        about |= {"BrainCenter": center, "BrainCenterSource": center_reason}
    return about

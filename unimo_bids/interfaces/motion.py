"""A pose for every frame: estimated, or from an earlier call."""

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

from unimo_bids.interfaces.results import OnDevice, value_or_none
from unimo_bids.words import Fusion, TrackerName

if TYPE_CHECKING:
    from unimo_bids.motion.settings import MotionSettings
    from unimo_bids.pipeline.steps import Head


class _HeadInput(OnDevice):
    in_file = File(mandatory=True, desc="series, or what PrepareRun kept of it")
    mask = File(exists=True, desc="brain in the reference frame, or in every frame")
    reference = traits.Int(mandatory=True, desc="frame that poses are relative to")
    reference_file = File(desc="a volume scanned apart that takes its place")
    fusion = traits.Enum(
        *get_args(Fusion),
        usedefault=True,
        desc="how the pose network brings together image and shape",
    )
    tracker = traits.Enum(
        *get_args(TrackerName), usedefault=True, desc="who follows the head, and bridges"
    )
    refine = traits.Bool(True, usedefault=True, desc="go beyond the tracker's poses")


class _TrackOutput(TraitedSpec):
    tracking = File(exists=True, desc="rough poses, similarity, what the tracker predicted")


class TrackHead(SimpleInterface):
    """Follow the head through the series: a rough pose for every frame."""

    input_spec = _HeadInput
    output_spec = _TrackOutput

    def _run_interface(self, runtime: Any) -> Any:
        from unimo_bids.devices import torch_device
        from unimo_bids.interfaces.results import write_arrays
        from unimo_bids.pipeline.steps import track

        head, settings = _registration_inputs(self.inputs)
        device = torch_device(self.inputs.device)
        tracking = track(head, self.inputs.reference, settings=settings, device=device)
        self._results["tracking"] = write_arrays(Path(runtime.cwd) / "tracking.npz", tracking)
        return runtime


class _EstimateInput(_HeadInput):
    tracking = File(exists=True, desc="of TrackHead; without it, the series was corrected already")


class _EstimateOutput(TraitedSpec):
    motion = File(exists=True, desc="poses, covariance, similarity, status")
    boldref = File(exists=True, desc="template of aligned frames")
    transforms = File(exists=True, desc="ITK series, an affine per frame")
    about_motion = traits.Dict(desc="what the poses are relative to, and what was decided")
    device_used = traits.Str(desc="cpu, or the name of the GPU")


class EstimateMotion(SimpleInterface):
    """Refine rough poses to the template of all frames, and judge them."""

    input_spec = _EstimateInput
    output_spec = _EstimateOutput

    def _run_interface(self, runtime: Any) -> Any:
        from unimo_bids.devices import torch_device
        from unimo_bids.files.writing import write_volume
        from unimo_bids.interfaces.results import device_name, read_tracking, write_motion
        from unimo_bids.pipeline.given import motion_facts
        from unimo_bids.pipeline.steps import estimate, still

        here, inputs, results = Path(runtime.cwd), self.inputs, self._results
        head, settings = _registration_inputs(inputs)
        device, reference = torch_device(inputs.device), inputs.reference
        tracked = isdefined(inputs.tracking)
        tracking = read_tracking(inputs.tracking) if tracked else still(head, reference)
        motion = estimate(head, reference, tracking, settings=settings, device=device)
        results["device_used"] = device_name(device)
        results["about_motion"] = motion_facts(motion)
        results |= write_motion(here, motion)
        results["boldref"] = str(here / "boldref.nii.gz")
        write_volume(results["boldref"], motion.template, head.series)
        return runtime


def _registration_inputs(inputs: Any) -> tuple[Head, MotionSettings]:
    """Arguments of the estimation: series, reference, mask and options."""
    from unimo_bids.files.mapped import open_series
    from unimo_bids.motion.settings import MotionSettings
    from unimo_bids.pipeline.steps import read_head

    files = map(value_or_none, (inputs.mask, inputs.reference_file))
    settings = MotionSettings(fusion=inputs.fusion, refine=inputs.refine, tracker=inputs.tracker)
    return read_head(open_series(inputs.in_file), *files), settings


class _ReadInput(BaseInterfaceInputSpec):
    in_file = File(mandatory=True, desc="series, or what PrepareRun kept of it")
    transforms = File(exists=True, mandatory=True, desc="ITK series, an affine per frame")
    boldref = File(exists=True, mandatory=True, desc="template of aligned frames")
    brain = File(exists=True, mandatory=True, desc="soft mask")
    confounds = File(exists=True, mandatory=True, desc="table, a line per frame")
    about = traits.Dict(mandatory=True, desc="as `EstimateMotion` has it")


class ReadMotion(SimpleInterface):
    """Take the motion that an earlier call has estimated."""

    input_spec = _ReadInput
    output_spec = _EstimateOutput

    def _run_interface(self, runtime: Any) -> Any:
        from unimo_bids.files.mapped import open_series
        from unimo_bids.interfaces.results import write_arrays
        from unimo_bids.pipeline.given import read_motion

        inputs, results = self.inputs, self._results
        motion = read_motion(
            open_series(inputs.in_file),
            inputs.transforms,
            inputs.boldref,
            inputs.brain,
            inputs.confounds,
            inputs.about,
        )
        results["device_used"] = "none: the motion was given"
        results["about_motion"] = inputs.about
        results["motion"] = write_arrays(Path(runtime.cwd) / "motion.npz", motion)
        results["boldref"], results["transforms"] = inputs.boldref, inputs.transforms
        return runtime

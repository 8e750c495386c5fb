"""A pose for every frame: estimated, or from an earlier call."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from unimo_bids.interfaces.results import DEVICE
from unimo_bids.words import Fusion, TrackerName


class _EstimateInput(BaseInterfaceInputSpec):
    in_file = File(mandatory=True, desc="series")
    mask = File(exists=True, desc="brain in the reference frame, or in every frame")
    reference = traits.Int(mandatory=True, desc="frame that poses are relative to")
    reference_file = File(desc="a volume scanned apart that takes its place")
    at_rest = traits.Bool(False, usedefault=True, desc="corrected already: nothing to track")
    fusion = traits.Enum(
        *get_args(Fusion),
        usedefault=True,
        desc="how the pose network brings together image and shape",
    )
    tracker = traits.Enum(
        *get_args(TrackerName), usedefault=True, desc="who follows the head, and bridges"
    )
    refine = traits.Bool(True, usedefault=True, desc="go beyond the tracker's poses")
    device = DEVICE
    use_gpu = traits.Bool(False, usedefault=True, desc="takes a GPU slot")


class _EstimateOutput(TraitedSpec):
    motion = File(exists=True, desc="poses, covariance, similarity, status")
    boldref = File(exists=True, desc="template of aligned frames")
    transforms = File(exists=True, desc="ITK series, an affine per frame")
    about_motion = traits.Dict(desc="what the poses are relative to, and what was decided")
    device_used = traits.Str(desc="cpu, or the name of the GPU")


class EstimateMotion(SimpleInterface):
    """Follow the head through the series, refine its poses to the template of all, judge them."""

    input_spec = _EstimateInput
    output_spec = _EstimateOutput

    def _run_interface(self, runtime: Any) -> Any:
        from unimo_bids.devices import torch_device
        from unimo_bids.files.series import read_series
        from unimo_bids.files.transforms import write_itk
        from unimo_bids.files.writing import write_volume
        from unimo_bids.interfaces.results import device_name, write_arrays
        from unimo_bids.motion.settings import MotionSettings
        from unimo_bids.pipeline.given import motion_facts
        from unimo_bids.pipeline.steps import estimate, read_head, still, track

        here, inputs, results = Path(runtime.cwd), self.inputs, self._results
        files = (path if isdefined(path) else None for path in (inputs.mask, inputs.reference_file))
        head = read_head(read_series(inputs.in_file), *files)
        settings = MotionSettings(
            fusion=inputs.fusion, refine=inputs.refine, tracker=inputs.tracker
        )
        device, reference = torch_device(inputs.device), inputs.reference
        tracking = (
            still(head, reference)
            if inputs.at_rest
            else track(head, reference, settings=settings, device=device)
        )
        motion = estimate(head, reference, tracking, settings=settings, device=device)
        results["device_used"] = device_name(device)
        results["about_motion"] = motion_facts(motion)
        results["motion"] = write_arrays(here / "motion.npz", motion)
        results["boldref"] = str(here / "boldref.nii.gz")
        write_volume(results["boldref"], motion.template, head.series)
        results["transforms"] = str(here / "transforms.txt")
        write_itk(results["transforms"], motion.poses)
        return runtime


class _ReadInput(BaseInterfaceInputSpec):
    in_file = File(mandatory=True, desc="series")
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
        from unimo_bids.files.series import read_series
        from unimo_bids.interfaces.results import write_arrays
        from unimo_bids.pipeline.given import read_motion

        inputs, results = self.inputs, self._results
        motion = read_motion(
            read_series(inputs.in_file),
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

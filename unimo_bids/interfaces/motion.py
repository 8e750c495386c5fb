"""From the raw series to a pose for every frame."""

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
from unimo_bids.words import Fusion

if TYPE_CHECKING:
    from unimo_bids.pipeline.steps import Head


class _MotionInput(BaseInterfaceInputSpec):
    in_file = File(mandatory=True, desc="series")
    mask = File(exists=True, desc="brain in the reference frame, or in every frame")
    reference = traits.Int(mandatory=True, desc="frame that poses are relative to")
    reference_file = File(desc="a volume scanned apart that takes its place")
    fusion = traits.Enum(
        *get_args(Fusion),
        usedefault=True,
        desc="how the pose network brings together image and shape",
    )
    refine = traits.Bool(True, usedefault=True, desc="go beyond the network's poses")
    device = DEVICE
    use_gpu = traits.Bool(False, usedefault=True, desc="takes a GPU slot")


class _TrackOutput(TraitedSpec):
    tracking = File(exists=True, desc="rough poses of all frames")


class TrackMotion(SimpleInterface):
    """Follow the head through the series."""

    input_spec = _MotionInput
    output_spec = _TrackOutput

    def _run_interface(self, runtime: Any) -> Any:
        from unimo_bids.interfaces.results import write_arrays
        from unimo_bids.pipeline.steps import track

        tracking = track(_head(self.inputs), self.inputs.reference, **_options(self.inputs))
        path = Path(runtime.cwd) / "tracking.npz"
        self._results["tracking"] = write_arrays(path, tracking)
        return runtime


class _EstimateInput(_MotionInput):
    tracking = File(exists=True, desc="rough poses; without them, no motion is expected")


class _EstimateOutput(TraitedSpec):
    motion = File(exists=True, desc="poses, covariance, similarity, status")
    boldref = File(exists=True, desc="template of aligned frames")
    transforms = File(exists=True, desc="ITK series, an affine per frame")
    device_used = traits.Str(desc="cpu, or the name of the GPU")


class EstimateMotion(SimpleInterface):
    """Refine rough poses to the template of all frames; judge them."""

    input_spec = _EstimateInput
    output_spec = _EstimateOutput

    def _run_interface(self, runtime: Any) -> Any:
        from unimo_bids.files.transforms import write_itk
        from unimo_bids.files.writing import write_volume
        from unimo_bids.interfaces.results import device_name, read_tracking, write_arrays
        from unimo_bids.pipeline.steps import estimate, still

        here, head, reference = Path(runtime.cwd), _head(self.inputs), self.inputs.reference
        tracking = (
            read_tracking(self.inputs.tracking)
            if isdefined(self.inputs.tracking)
            else still(head, reference)
        )
        options = _options(self.inputs)
        motion = estimate(head, reference, tracking, **options)
        self._results["device_used"] = device_name(options["device"])
        self._results["motion"] = write_arrays(here / "motion.npz", motion)
        self._results["boldref"] = str(here / "boldref.nii.gz")
        write_volume(self._results["boldref"], motion.template, head.series)
        self._results["transforms"] = str(here / "transforms.txt")
        write_itk(self._results["transforms"], motion.poses)
        return runtime


def _head(inputs: Any) -> Head:
    from unimo_bids.files.series import read_series
    from unimo_bids.pipeline.steps import read_head

    files = (path if isdefined(path) else None for path in (inputs.mask, inputs.reference_file))
    return read_head(read_series(inputs.in_file), *files)


def _options(inputs: Any) -> dict[str, Any]:
    from unimo_bids.devices import torch_device
    from unimo_bids.motion.settings import MotionSettings

    settings = MotionSettings(fusion=inputs.fusion, refine=inputs.refine)
    return {"settings": settings, "device": torch_device(inputs.device)}

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
    from unimo_bids.files.series import Series


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
        from unimo_bids.devices import torch_device
        from unimo_bids.files.series import read_series
        from unimo_bids.interfaces.results import write_arrays
        from unimo_bids.motion.estimation import track_motion
        from unimo_bids.motion.settings import MotionSettings

        series = read_series(self.inputs.in_file)
        frames, reference = _with_reference(self.inputs, series)
        mask = _mask(self.inputs, series)
        with _refusing(self.inputs, mask):
            tracking = track_motion(
                frames,
                series.affine,
                mask=mask,
                reference=reference,
                device=torch_device(self.inputs.device),
                settings=MotionSettings(fusion=self.inputs.fusion, refine=self.inputs.refine),
            )
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
        from dataclasses import replace

        from unimo_bids.devices import torch_device
        from unimo_bids.files.series import read_series
        from unimo_bids.files.transforms import write_itk
        from unimo_bids.files.writing import write_volume
        from unimo_bids.interfaces.results import device_name, read_tracking, write_arrays
        from unimo_bids.motion.estimate import Tracking
        from unimo_bids.motion.estimation import estimate_motion
        from unimo_bids.motion.settings import MotionSettings

        here = Path(runtime.cwd)
        series = read_series(self.inputs.in_file)
        frames, reference = _with_reference(self.inputs, series)
        if isdefined(self.inputs.tracking):
            tracking = read_tracking(self.inputs.tracking)
        else:
            tracking = Tracking.at_rest(frames.shape[3], reference)
        device = torch_device(self.inputs.device)
        mask = _mask(self.inputs, series)
        with _refusing(self.inputs, mask):
            motion = estimate_motion(
                frames,
                series.affine,
                mask=mask,
                device=device,
                settings=MotionSettings(fusion=self.inputs.fusion, refine=self.inputs.refine),
                tracking=tracking,
            )
        self._results["device_used"] = device_name(device)
        if isdefined(self.inputs.reference_file):
            of_series = {
                name: getattr(motion, name)[1:]
                for name in ("poses", "covariance", "similarity", "status")
            }
            motion = replace(motion, reference=-1, **of_series)
        self._results["motion"] = write_arrays(here / "motion.npz", motion)
        self._results["boldref"] = str(here / "boldref.nii.gz")
        write_volume(self._results["boldref"], motion.template, series)
        self._results["transforms"] = str(here / "transforms.txt")
        write_itk(self._results["transforms"], motion.poses)
        return runtime


def _with_reference(inputs: Any, series: Series) -> tuple[Any, int]:
    """Frames to register, and which of them is the reference."""
    from unimo_bids.files.series import read_volume
    from unimo_bids.motion.frames import Preceded

    if not isdefined(inputs.reference_file):
        return series, inputs.reference
    return Preceded(read_volume(inputs.reference_file, series), series), 0


def _refusing(inputs: Any, mask: Any) -> Any:
    """Name the file that is at fault where there is no motion to be told."""
    from unimo_bids.brain.head import refusing

    given = inputs.mask if isdefined(inputs.mask) else None
    return refusing(inputs.in_file, given, many=mask is not None and mask.ndim == 4)


def _mask(inputs: Any, series: Series) -> Any:
    from unimo_bids.files.series import read_mask

    if not isdefined(inputs.mask):
        return None
    mask = read_mask(inputs.mask, series)
    # the reference that was scanned apart has no mask of its own: it comes just before frame 0
    apart = isdefined(inputs.reference_file)
    return mask[..., 0] if mask.ndim == 4 and apart else mask

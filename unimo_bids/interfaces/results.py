"""What is handed from node to node besides images: poses and what is known of them."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import BaseInterfaceInputSpec, isdefined, traits

if TYPE_CHECKING:
    from unimo_bids.deformation.epi import Distortion
    from unimo_bids.motion.estimate import MotionEstimate, Tracking
    from unimo_bids.pipeline.rebuilt import SliceResult


class OnDevice(BaseInterfaceInputSpec):
    """Inputs of steps that can use a GPU."""

    device = traits.Str("auto", usedefault=True, desc="auto, cpu, cuda or cuda:i")
    use_gpu = traits.Bool(False, usedefault=True, desc="takes a GPU slot")


def value_or_none(value: Any) -> Any:
    """Value of an input; None if it was not set."""
    return value if isdefined(value) else None


def device_name(device: str) -> str:
    """Name of a device, for readers of the report."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU"


def write_arrays(path: Path, result: Tracking | MotionEstimate | SliceResult) -> str:
    """Save the fields of a result that are not None; returns the path as a string."""
    from unimo_bids.files import arrays

    known = {name: one for name, one in asdict(result).items() if one is not None}
    arrays.write_arrays(path, known)
    return str(path)


def write_motion(folder: Path, motion: MotionEstimate) -> dict[str, str]:
    """Save an estimate, and its poses in ITK format; returns outputs by name."""
    from unimo_bids.files.transforms import write_itk

    transforms = folder / "transforms.txt"
    write_itk(transforms, motion.poses)
    return {"motion": write_arrays(folder / "motion.npz", motion), "transforms": str(transforms)}


def read_tracking(path: str) -> Tracking:
    """Read the output of TrackHead."""
    from unimo_bids.motion.estimate import Tracking

    arrays = _arrays(path)
    return Tracking(**arrays | {"findings": tuple(arrays["findings"].tolist())})


def read_motion(path: str) -> MotionEstimate:
    """Read the output of EstimateMotion."""
    from unimo_bids.motion.estimate import MotionEstimate

    return MotionEstimate(**_arrays(path))


def read_slices(path: Any) -> SliceResult | None:
    """Read the output of FollowSlices; None if the input is not given."""
    from unimo_bids.pipeline.rebuilt import SliceResult

    return SliceResult(**_arrays(path)) if isdefined(path) else None


def read_distortion(path: Any) -> Distortion | None:
    """Read the output of SeekDistortion; None if the input is not given."""
    from unimo_bids.deformation.epi import Distortion
    from unimo_bids.files.fields import read_shift_field

    return Distortion(read_shift_field(Path(path))) if isdefined(path) else None


def _arrays(path: str) -> dict[str, Any]:
    import numpy as np

    from unimo_bids.errors import MachineError

    try:
        with np.load(path) as file:
            return {name: array if array.ndim else array.item() for name, array in file.items()}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        finding = "this file of the work folder is damaged"
        raise MachineError(path, finding, "repeat the command: this step is run again") from error

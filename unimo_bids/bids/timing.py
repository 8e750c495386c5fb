"""When the frames of a run were taken: sidecars first, then the header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from nibabel.nifti1 import Nifti1Header

from unimo_bids.errors import InputError, UnimoError
from unimo_bids.files.header import LONGEST_TR, SLOWEST_TR, data_shape, read_header, repetition_time
from unimo_bids.files.objects import is_number
from unimo_bids.files.voxels import opened

# Headers round to float32 or to whole milliseconds.
_SAME_SECONDS = 1.5e-3
_LATEST_S = 7 * 86_400.0


@dataclass(frozen=True)
class Timing:
    """When frames were taken: one of the two, or neither where it is unknown.

    Attributes
    ----------
    repetition_time
        Seconds from frame to frame.
    volume_timing
        Seconds from the run's start to the start of each frame, where these are uneven.
    """

    repetition_time: float | None
    volume_timing: tuple[float, ...] | None = None
    warnings: tuple[str, ...] = ()


def timing_of(path: Path, metadata: Mapping[str, Any]) -> Timing:
    """Find the timing of a series in its metadata, or else in its header."""
    header, frames = _header(path)
    warnings: list[str] = []
    said = _seconds(metadata, warnings)
    uneven = _uneven(metadata, frames, warnings)
    if said is not None:
        if uneven:
            warnings.append(
                "The sidecar gives RepetitionTime and VolumeTiming; the former is used."
            )
        if header is not None and abs(header - said) > _SAME_SECONDS:
            warnings.append(
                f"The repetition time is {said:g} s in the sidecar and {header:g} s in the header;"
                " the sidecar's is used."
            )
        return Timing(said, None, tuple(warnings))
    if uneven:
        return Timing(None, uneven, tuple(warnings))
    if header is None:
        warnings.append("Neither sidecar nor header give a repetition time.")
    else:
        warnings.append(f"No sidecar gives a repetition time; the header's, {header:g} s, is used.")
    return Timing(header, None, tuple(warnings))


def image_header(path: Path) -> Nifti1Header | None:
    """Header of a NIfTI file, compressed or not; None where it cannot be read."""
    try:
        with opened(path) as stream:
            return read_header(stream, path)
    except UnimoError:
        return None


def _header(path: Path) -> tuple[float | None, int | None]:
    """Repetition time (s) and number of frames; a damaged file is refused when its run begins."""
    header = image_header(path)
    if header is None:
        return None, None
    try:
        shape = data_shape(header, path)
    except InputError:
        return None, None
    return repetition_time(header)[0], shape[3] if len(shape) == 4 else 1


def _seconds(metadata: Mapping[str, Any], warnings: list[str]) -> float | None:
    said = metadata.get("RepetitionTime")
    if said is None:
        return None
    # some write milliseconds
    if not is_number(said) or not 0 < said <= 1000 * SLOWEST_TR:
        warnings.append(f"The sidecar's RepetitionTime, {said!r}, is no time; it is not used.")
        return None
    if said > LONGEST_TR:
        warnings.append(f"A repetition time of {said:g} s is taken to be milliseconds.")
        return float(said) / 1000
    return float(said)


def _uneven(
    metadata: Mapping[str, Any], frames: int | None, warnings: list[str]
) -> tuple[float, ...] | None:
    said = metadata.get("VolumeTiming")
    if said is None:
        return None
    if not isinstance(said, list) or not all(map(is_number, said)):
        warnings.append("The sidecar's VolumeTiming is no list of times; it is not used.")
    elif not all(abs(one) <= _LATEST_S for one in said):
        warnings.append("The sidecar's VolumeTiming has times that cannot be; it is not used.")
    elif not all(before < after for before, after in pairwise(said)):
        warnings.append("The sidecar's VolumeTiming does not increase; it is not used.")
    elif frames is not None and len(said) != frames:
        warnings.append(
            f"The sidecar's VolumeTiming has {len(said)} times for {frames} frames; it is not used."
        )
    else:
        return tuple(float(one) for one in said)
    return None

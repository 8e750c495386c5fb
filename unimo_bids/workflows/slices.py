"""Motion within frames: whether it is estimated, and the node that does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nipype.pipeline import engine as pe

from unimo_bids.bids.query import BoldRun
from unimo_bids.interfaces.slices import FollowSlices
from unimo_bids.settings import Settings
from unimo_bids.words import grid_axis
from unimo_bids.workflows.described import DescribedWorkflow

_OF_SLICES = (
    *("SliceTiming", "SliceEncodingDirection", "MultibandAccelerationFactor"),
    *("FlipAngle", "MagneticFieldStrength"),
)
_IN_TIME = (
    "The corrected series was interpolated in time to one moment of every frame ({:g} of the way "
    "from the first slice to the last), by a cubic spline and the time at which each place was "
    "acquired in each frame."
)
_HISTORY = (
    " Spin history was predicted from the trajectory (after Bhagalia & Kim 2008 and Ferrazzi et "
    "al. 2014), its strength fitted to every voxel, and removed where it explained frames that it "
    "was not fitted to; slices were followed without it where frames were then more alike."
)
_RECEIVE = (
    " The coils' sensitivity, through which the head moves, was fitted by smooth waves fixed in "
    "the scanner, and its change removed by the same rule."
)


def follows_slices(run: BoldRun, settings: Settings) -> bool:
    """Whether motion is estimated for every slice, not only for every frame."""
    return settings.slices != "off" and not _why_not_followed(run, settings)


def _why_not_followed(run: BoldRun, settings: Settings) -> str:
    return "the motion was given" if run.motion is not None else _without_times(run, settings)


def _without_times(run: BoldRun, settings: Settings) -> str:
    """Why the times of slices are not known; nothing if they are."""
    if "slicetiming" in settings.ignore:
        return "--ignore slicetiming"
    return "" if "SliceTiming" in run.metadata else "no sidecar has a SliceTiming"


def _why_not_in_time(run: BoldRun, settings: Settings) -> str:
    uneven = "frames are at uneven times (VolumeTiming)" if run.volume_timing is not None else ""
    return _without_times(run, settings) or uneven


def in_time(run: BoldRun, settings: Settings) -> dict[str, Any]:
    """Arguments for interpolation in time; none where it is not done."""
    if settings.slice_time_ref is None or _why_not_in_time(run, settings):
        return {}
    return {"slice_time_ref": settings.slice_time_ref, "metadata": _about_slices(run)}


def _about_slices(run: BoldRun) -> dict[str, Any]:
    return {name: run.metadata[name] for name in _OF_SLICES if name in run.metadata}


def slice_warnings(run: BoldRun, settings: Settings) -> list[str]:
    """Say why slices are not followed, or not interpolated in time, where that was asked for."""
    warnings = []
    if settings.slices == "on" and (why := _why_not_followed(run, settings)):
        from unimo_bids.pipeline.slices import volume_wise  # and torch, which takes seconds

        warnings.append(volume_wise(why))
    if settings.slice_time_ref is not None and (why := _why_not_in_time(run, settings)):
        from unimo_bids.pipeline.in_time import NOT_IN_TIME

        warnings.append(NOT_IN_TIME.format(why))
    return warnings


def slice_axis(run: BoldRun) -> int | None:
    """Axis of the grid along which slices were taken, where the sidecar says so."""
    return grid_axis(run.metadata.get("SliceEncodingDirection"))


def follow_slices(
    workflow: DescribedWorkflow, run: BoldRun, settings: Settings, resources: Mapping[str, Any]
) -> str:
    """Add and connect the node that follows slices, if they are followed.

    Returns the name of the node that has the poses of frames: this one or ``motion``.
    """
    if not follows_slices(run, settings):
        return "motion"
    slices = FollowSlices(
        metadata=_about_slices(run),
        repetition_time=run.repetition_time,
        required=settings.slices == "on",
        intensity_correction=settings.intensity_correction,
    )
    workflow.add_nodes([pe.Node(slices, name="slices", **resources)])
    workflow.hand_on("prepare", "slices", first="in_file")
    workflow.hand_on("motion", "slices", "motion", "transforms")
    workflow.hand_on("slices", "resample", "slices")
    workflow.hand_on("slices", "confounds", "slices")
    workflow.hand_on("resample", "confounds", "coverage", "history")
    workflow.hand_on("slices", "figures", "slices", warnings="slice_warnings")
    workflow.hand_on("slices", "save", table="slices", metadata="slices_metadata")
    workflow.hand_on("resample", "figures", "about_brightness")
    workflow.hand_on("resample", "save", "coverage", "about_brightness")
    return "slices"


def slice_paragraphs(run: BoldRun, settings: Settings) -> list[str]:
    """For the methods section; none where slices are not followed, nor interpolated in time."""
    interpolated = [_IN_TIME.format(settings.slice_time_ref)] if in_time(run, settings) else []
    if not follows_slices(run, settings):
        return interpolated
    where = (
        "Where slices that had no part in the estimate were better explained so, the"
        if settings.slices == "auto"
        else "The"
    )
    return [
        f"{where} head was followed through the slices of all frames: a trajectory in continuous "
        "time, fitted to the template by one banded Gauss–Newton problem, and frames were made "
        "from slices where they were acquired."
        + (_HISTORY if settings.intensity_correction and "FlipAngle" in run.metadata else "")
        + (_RECEIVE if settings.intensity_correction else ""),
        *interpolated,
    ]

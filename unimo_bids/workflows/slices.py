"""Motion within the frames of a run: when slices are followed, and what hangs on it."""

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
    """Whether there is something to follow slices by, and nobody objects."""
    return (
        settings.slices != "off"
        and "slicetiming" not in settings.ignore
        and "SliceTiming" in run.metadata
        and run.motion is None
    )


def in_time(run: BoldRun, settings: Settings) -> dict[str, Any]:
    """What interpolation in time needs to know; nothing where it is not to be."""
    if settings.slice_time_ref is None or _why_not_in_time(run, settings):
        return {}
    return {"slice_time_ref": settings.slice_time_ref, "metadata": _about_slices(run)}


def _why_not_in_time(run: BoldRun, settings: Settings) -> str:
    if "slicetiming" in settings.ignore:
        return "--ignore slicetiming"
    if "SliceTiming" not in run.metadata:
        return "no sidecar has a SliceTiming"
    return "frames are at uneven times (VolumeTiming)" if run.volume_timing is not None else ""


def _about_slices(run: BoldRun) -> dict[str, Any]:
    return {name: run.metadata[name] for name in _OF_SLICES if name in run.metadata}


def slice_warnings(run: BoldRun, settings: Settings) -> list[str]:
    """Say why slices are not followed, or not interpolated in time, where that was asked for."""
    return [*_following_warnings(run, settings), *_time_warnings(run, settings)]


def _time_warnings(run: BoldRun, settings: Settings) -> list[str]:
    why = _why_not_in_time(run, settings)
    if settings.slice_time_ref is None or not why:
        return []
    from unimo_bids.pipeline.in_time import NOT_IN_TIME

    return [NOT_IN_TIME.format(why)]


def _following_warnings(run: BoldRun, settings: Settings) -> list[str]:
    if settings.slices != "on" or follows_slices(run, settings):
        return []
    from unimo_bids.pipeline.slices import volume_wise  # and torch, which takes seconds

    if run.motion is not None:
        return [volume_wise("the motion was given")]
    if "slicetiming" in settings.ignore:
        return [volume_wise("--ignore slicetiming")]
    return [volume_wise("no sidecar has a SliceTiming")]


def slice_axis(run: BoldRun) -> int | None:
    """Axis of the grid along which slices were taken, where the sidecar says so."""
    return grid_axis(run.metadata.get("SliceEncodingDirection"))


def follow_slices(
    workflow: DescribedWorkflow,
    run: BoldRun,
    settings: Settings,
    resources: Mapping[str, Any],
    prepare: pe.Node,
    motion: pe.Node,
    resample: pe.Node,
    confounds: pe.Node,
    figures: pe.Node,
    save: pe.Node,
) -> pe.Node:
    """Add the step that follows slices, if they are to be, and hand on what only it knows.

    Returns the node that has the frames' poses: this one, or that of the motion.
    """
    if not follows_slices(run, settings):
        return motion
    slices = pe.Node(
        FollowSlices(
            metadata=_about_slices(run),
            repetition_time=run.repetition_time if run.volume_timing is None else None,
            required=settings.slices == "on",
            intensity_correction=settings.intensity_correction,
        ),
        name="slices",
        **resources,
    )
    workflow.hand_on(prepare, slices, first="in_file")
    workflow.hand_on(motion, slices, "motion", "transforms")
    workflow.hand_on(slices, resample, "slices")
    workflow.hand_on(slices, confounds, "slices")
    workflow.hand_on(resample, confounds, "coverage", "history")
    workflow.hand_on(slices, figures, "slices", warnings="slice_warnings")
    workflow.hand_on(slices, save, table="slices", metadata="slices_metadata")
    workflow.hand_on(resample, figures, "about_brightness")
    workflow.hand_on(resample, save, "coverage", "about_brightness")
    return slices


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

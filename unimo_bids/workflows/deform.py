"""Distortion of a moving head: whether it is looked for, and the node that does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nipype.pipeline import engine as pe

from unimo_bids.bids.query import BoldRun
from unimo_bids.interfaces.deform import SeekDistortion
from unimo_bids.pipeline.measured_field import MeasuredField
from unimo_bids.settings import Settings
from unimo_bids.words import grid_axis
from unimo_bids.workflows.described import DescribedWorkflow

_NOT_SOUGHT = "No distortion was looked for: {}."


def _axis(run: BoldRun) -> int | None:
    """Axis of the grid that is phase-encoded; None where the sidecar does not say."""
    return grid_axis(run.metadata.get("PhaseEncodingDirection"))


def seeks_distortion(run: BoldRun, settings: Settings) -> bool:
    """Whether distortion is looked for: its axis is known, and motion is estimated."""
    return settings.deformation != "none" and run.motion is None and _axis(run) is not None


def distortion_facts(run: BoldRun, settings: Settings) -> dict[str, str]:
    """Say why distortion is not looked for though asked for, and what is known of field maps."""
    facts = {}
    if settings.deformation != "none" and not seeks_distortion(run, settings):
        why = (
            "no sidecar has a PhaseEncodingDirection" if run.motion is None else "motion was given"
        )
        facts["Distortion"] = _NOT_SOUGHT.format(why)
    if run.about_field_maps:
        facts["Field maps"] = run.about_field_maps
    return facts


def seek_distortion(
    workflow: DescribedWorkflow,
    run: BoldRun,
    settings: Settings,
    poses: str,
    resources: Mapping[str, Any],
) -> str:
    """Add and connect the node that looks for distortion, if it is looked for.

    Returns the name of the node that has the poses of frames: this one or `poses`, the one before.
    """
    if not seeks_distortion(run, settings):
        return poses
    deform = SeekDistortion(axis=_axis(run), how=settings.deformation, **_measured(run.field_map))
    workflow.add_nodes([pe.Node(deform, name="deform", **resources)])
    if poses == "slices":
        workflow.hand_on("slices", "deform", "slices")
    workflow.hand_on("prepare", "deform", first="in_file")
    workflow.hand_on(poses, "deform", "motion", "transforms")
    workflow.hand_on("deform", "resample", "distortion")
    workflow.hand_on("deform", "confounds", "distortion")
    workflow.hand_on("deform", "figures", "displacement", about="about_distortion")
    workflow.hand_on("deform", "save", "distortion", "displacement", about="about_distortion")
    return "deform"


def _measured(field_map: MeasuredField | None) -> dict[str, Any]:
    """Inputs that describe the measured field map, where there is one."""
    if field_map is None:
        return {}
    inputs: dict[str, Any] = {
        "field_map": [str(path) for path in field_map.paths],
        "kind": field_map.kind,
        "scale": field_map.scale,
        "readout": field_map.readout,
    }
    if field_map.magnitude is not None:
        inputs["magnitude"] = str(field_map.magnitude)
    return inputs


def distortion_paragraphs(run: BoldRun, settings: Settings) -> list[str]:
    """For the methods section; none where distortion is not looked for."""
    if not seeks_distortion(run, settings):
        return []
    where = (
        "Where frames that had no part in the estimate were better explained so, and better than "
        "by displacement along another axis, one"
        if settings.deformation == "auto"
        else "One"
    )
    measured = [
        "The field map that was measured for the run was made smooth, turned into displacements "
        "along the phase-encode axis, and taken to stay in the scanner. If frames agreed better "
        "under it, it was undone, with its change of brightness, in the same resampling as motion; "
        "if not, a field was looked for in the frames."
    ]
    return [
        *(measured if run.field_map is not None else []),
        f"{where} distortion field, fixed in the scanner along the phase-encode axis, was "
        "estimated together with the poses of all frames (Gauss–Newton; size of the field by "
        "evidence, MacKay 1992), and undone, with its change of brightness, in the same "
        "resampling.",
    ]

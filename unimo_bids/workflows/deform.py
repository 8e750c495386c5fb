"""Distortion that bends a moving head: when it is looked for, and what hangs on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nipype.pipeline import engine as pe

from unimo_bids.bids.query import BoldRun
from unimo_bids.interfaces.deform import SeekDistortion
from unimo_bids.settings import Settings
from unimo_bids.words import grid_axis
from unimo_bids.workflows.described import DescribedWorkflow
from unimo_bids.workflows.slices import follows_slices

_NOT_SOUGHT = "No distortion was looked for: {}."


def _axis(run: BoldRun) -> int | None:
    """Axis of the grid that is phase-encoded; None where the sidecar does not say."""
    return grid_axis(run.metadata.get("PhaseEncodingDirection"))


def seeks_distortion(run: BoldRun, settings: Settings) -> bool:
    """Whether there is an axis along which to look for distortion, and poses to go with it."""
    return settings.deformation != "none" and run.motion is None and _axis(run) is not None


def distortion_facts(run: BoldRun, settings: Settings) -> dict[str, str]:
    """Say why nothing is looked for where it was asked for, and what of field maps."""
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
    resources: Mapping[str, Any],
    prepare: pe.Node,
    poses: pe.Node,
    resample: pe.Node,
    confounds: pe.Node,
    figures: pe.Node,
    save: pe.Node,
) -> pe.Node:
    """Add the step that looks for distortion, if it is to be, and hand on what only it knows.

    Returns the node that has the frames' poses: this one, or the one before.
    """
    if not seeks_distortion(run, settings):
        return poses
    deform = pe.Node(
        SeekDistortion(axis=_axis(run), how=settings.deformation), name="deform", **resources
    )
    if run.field_map is not None:
        measured = run.field_map
        deform.inputs.kind, deform.inputs.field_map = measured.kind, list(map(str, measured.paths))
        deform.inputs.scale, deform.inputs.readout = measured.scale, measured.readout
        if measured.magnitude is not None:
            deform.inputs.magnitude = str(measured.magnitude)
    if follows_slices(run, settings):
        workflow.hand_on(poses, deform, "slices")
    workflow.hand_on(prepare, deform, first="in_file")
    workflow.hand_on(poses, deform, "motion", "transforms")
    workflow.hand_on(deform, resample, "distortion")
    workflow.hand_on(deform, confounds, "distortion")
    workflow.hand_on(deform, figures, "displacement", about="about_distortion")
    workflow.hand_on(deform, save, "distortion", "displacement", about="about_distortion")
    return deform


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

"""A run in standard spaces: the step, and what hangs on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nipype.pipeline import engine as pe

from unimo_bids.bids.anatomy import find_anatomy
from unimo_bids.bids.query import BoldRun
from unimo_bids.interfaces.spaces import CarryToSpaces
from unimo_bids.settings import Settings
from unimo_bids.spaces.names import output_spaces
from unimo_bids.workflows.described import DescribedWorkflow
from unimo_bids.workflows.slices import in_time


def init_spaces(
    run: BoldRun,
    settings: Settings,
    age: float | None,
    device: Mapping[str, Any],
    resources: Mapping[str, Any],
) -> pe.Node:
    """Step that carries a run to all its spaces."""
    return pe.Node(
        CarryToSpaces(
            entities=run.name,
            output_spaces=list(settings.output_spaces),
            template=list(settings.template),
            anatomy=find_anatomy(run.entities, settings.derivatives),
            age=age,
            series=settings.level == "full",
            repetition_time=run.repetition_time if run.volume_timing is None else None,
            dummy_scans=settings.dummy_scans,
            **in_time(run, settings),
            **device,
        ),
        name="spaces",
        **resources,
    )


def connect_spaces(
    workflow: DescribedWorkflow,
    prepare: pe.Node,
    poses: pe.Node,
    spaces: pe.Node,
    figures: pe.Node,
    save: pe.Node,
) -> None:
    """Hand on what only spaces know."""
    workflow.hand_on(prepare, spaces, "probability", series="in_files")
    workflow.hand_on(poses, spaces, "motion")
    workflow.hand_on(spaces, figures, warnings="space_warnings")
    about = {"files": "space_files", "about": "about_spaces", "figures": "space_figures"}
    workflow.hand_on(spaces, save, **about)


def space_sentences(settings: Settings) -> str:
    """For the methods section."""
    listed = ", ".join(map(str, output_spaces(settings.output_spaces, settings.template)))
    return (
        f"The mean of the aligned frames was registered to the standard space ({listed}): "
        "rigidly, from any orientation, then by an affine transform of most mutual information "
        "(Maes et al. 1997) and like brain masks, and by a deformation of a stationary velocity "
        "(Arsigny et al. 2006) of high local correlation, where it held in blocks of the brain "
        "that it was not fitted to. Frames were resampled there in one step, through the motion of "
        "frames and these transforms together."
    )

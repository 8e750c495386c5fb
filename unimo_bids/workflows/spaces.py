"""A run in standard spaces: the node, and its connections."""

from __future__ import annotations

from typing import Any

from unimo_bids.bids.anatomy import find_anatomy
from unimo_bids.bids.query import BoldRun
from unimo_bids.interfaces.spaces import CarryToSpaces
from unimo_bids.settings import Settings
from unimo_bids.spaces.names import output_spaces
from unimo_bids.workflows.described import DescribedWorkflow
from unimo_bids.workflows.slices import in_time


def carry_to_spaces(
    run: BoldRun, settings: Settings, age: float | None, **device: Any
) -> CarryToSpaces:
    """Carry a run to all spaces that the settings ask for."""
    return CarryToSpaces(
        entities=run.name,
        output_spaces=list(settings.output_spaces),
        template=list(settings.template),
        anatomy=find_anatomy(run.entities, settings.derivatives),
        age=age,
        series=settings.level == "full",
        repetition_time=run.repetition_time,
        dummy_scans=settings.dummy_scans,
        **in_time(run, settings),
        **device,
    )


def connect_spaces(workflow: DescribedWorkflow, poses: str) -> None:
    """Connect ``spaces``; `poses` is the node with the final poses of frames."""
    workflow.hand_on("prepare", "spaces", "probability", series="in_files")
    workflow.hand_on(poses, "spaces", "motion")
    for node, output in (("slices", "slices"), ("deform", "distortion")):
        if workflow.get_node(node) is not None:
            workflow.hand_on(node, "spaces", output)
    workflow.hand_on("spaces", "figures", warnings="space_warnings")
    about = {"files": "space_files", "about": "about_spaces", "figures": "space_figures"}
    workflow.hand_on("spaces", "save", **about)


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

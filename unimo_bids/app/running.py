"""Run the workflow of a call."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from unimo_bids.app.folders import participant_steps, remove_steps, steps_folder
from unimo_bids.errors import UnimoError
from unimo_bids.execution.failures import Failure
from unimo_bids.execution.plugins import PluginChoice
from unimo_bids.execution.progress import Progress
from unimo_bids.execution.remains import remove_damaged
from unimo_bids.execution.resources import Resources
from unimo_bids.execution.runner import run_workflow
from unimo_bids.files.staging import atomic
from unimo_bids.settings import Settings
from unimo_bids.workflows.described import DescribedWorkflow

_LOG = logging.getLogger("unimo_bids")
_DRAWING_S = 60


def run_steps(
    workflow: DescribedWorkflow,
    settings: Settings,
    resources: Resources,
    plugin: PluginChoice | None,
    log_folders: Mapping[str, Path],
    progress: Progress,
) -> list[Failure]:
    """Run all steps that are not done yet; returns those that failed."""
    work = steps_folder(settings)
    if settings.clean_workdir:
        remove_steps(work, log_folders)
    workflow.base_dir = str(work)
    for participant in log_folders:
        for path in remove_damaged(participant_steps(work, participant)):
            _LOG.warning("%s was damaged: its step is run again.", path)
    first = next(iter(log_folders.values()))
    if settings.write_graph:
        _draw(workflow, first / "workflow.dot")
    return run_workflow(
        workflow,
        nprocs=resources.nprocs,
        mem_gb=resources.mem_gb,
        n_gpu=resources.n_gpu,
        crash_dir={**log_folders, "": first},
        plugin=plugin,
        stop_on_first_crash=settings.stop_on_first_crash,
        progress=progress,
        resource_table=first / "resources.tsv" if settings.resource_monitor else None,
    )


def _draw(workflow: DescribedWorkflow, path: Path) -> None:
    """Write the graph of the workflow, and a picture of it where Graphviz works."""
    try:
        workflow.write_graph(str(path), graph2use="colored", format="dot")
        program = shutil.which("dot")
        if program is not None:
            with atomic(path.with_suffix(".svg")) as temporary:
                command = [program, "-Tsvg", f"-o{temporary}", str(path)]
                subprocess.run(command, check=True, capture_output=True, timeout=_DRAWING_S)
    except (OSError, subprocess.SubprocessError, UnimoError) as error:
        _LOG.warning("--write-graph: the workflow could not be drawn (%s).", error)

"""Run a workflow to its end, whatever fails on the way."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unimo_bids.execution.failures import Failure
from unimo_bids.execution.log import nipype_settings
from unimo_bids.execution.plugins import PluginChoice, make_plugin
from unimo_bids.execution.progress import Progress
from unimo_bids.files.staging import machine_error
from unimo_bids.files.tables import write_table

if TYPE_CHECKING:
    from unimo_bids.execution.multiproc import Usage


def run_workflow(
    workflow: Any,
    *,
    nprocs: int,
    mem_gb: float,
    crash_dir: Path | Mapping[str, Path],
    n_gpu: int = 0,
    plugin: PluginChoice | None = None,
    stop_on_first_crash: bool = False,
    progress: Progress | None = None,
    resource_table: Path | None = None,
) -> list[Failure]:
    """Run all nodes of a workflow; those behind a node that fails are left out, others go on.

    Parameters
    ----------
    workflow
        A nipype workflow with a ``base_dir``. Nodes that a run there has finished before are not
        run again.
    nprocs, mem_gb
        What the nodes that are at work together may take, by what they say they need (``n_procs``,
        ``mem_gb``). One that needs more gets all.
    crash_dir
        Where crash files go; or for each participant (``{"sub-01": …}``, ``""`` for the rest).
    n_gpu
        How many nodes with the input ``use_gpu`` may be at work together.
    plugin
        Another plugin than this machine's processes.
    stop_on_first_crash
        End everything as soon as one node fails.
    progress
        What to tell how it goes; its display is up meanwhile.
    resource_table
        Where to write how long each node took, and how much memory; on this machine only.

    Returns the nodes that failed, in that order.
    """
    choice = plugin or PluginChoice()
    slots = {"n_procs": nprocs, "memory_gb": mem_gb, "n_gpu_procs": n_gpu}
    runner = make_plugin(choice, slots if choice.local else {})
    runner.crash_dir = crash_dir
    settings = nipype_settings(stop_on_first_crash=stop_on_first_crash)
    workflow.config["execution"] = workflow.config.get("execution", {}) | settings
    with progress or contextlib.nullcontext():
        if progress is not None:
            runner.on_start = progress.begin
            # not as a plugin argument: nipype gives those to MapNodes, and they are pickled
            runner._status_callback = progress.update
        try:
            workflow.run(plugin=runner)
        except Exception as error:
            # nipype ends a run with failed nodes by raising the first of their errors
            if not runner.failures or not (runner.completed or stop_on_first_crash):
                if isinstance(error, OSError):  # as on a full disk, and then without a name
                    place = error.filename or workflow.base_dir
                    raise machine_error(place, error) from error
                raise
    usage: Sequence[Usage] = getattr(runner, "usage", [])
    if resource_table is not None and usage:
        _write_usage(resource_table, usage)
    return list(runner.failures)


def _write_usage(path: Path, usage: Sequence[Usage]) -> None:
    columns = {
        "node": np.array([each.node for each in usage]),
        "seconds": np.array([each.seconds for each in usage]),
        "peak_gb": np.array([each.peak_gb for each in usage]),
        "mem_gb": np.array([each.mem_gb for each in usage], dtype=float),
        "n_procs": np.array([each.n_procs for each in usage]),
    }
    write_table(path, columns)

"""`unimo-bids … participant`: find the runs, correct them, write the reports."""

from __future__ import annotations

import datetime
import logging
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from unimo_bids import exits
from unimo_bids.app.folders import check_work, remove_interrupted, remove_steps, steps_folder
from unimo_bids.app.outcome import Outcome
from unimo_bids.app.plan import plan
from unimo_bids.app.reports import about_call, check_results, write_reports
from unimo_bids.app.running import run_steps
from unimo_bids.bids.dataset import check_output, prepare_dataset
from unimo_bids.bids.names import SETTINGS, log_folder, participant_folder
from unimo_bids.bids.query import Selection, find_runs, used_files
from unimo_bids.bids.refusals import check_bold
from unimo_bids.bids.validation import check_dataset
from unimo_bids.execution.failures import Failure
from unimo_bids.execution.lock import locked
from unimo_bids.execution.log import run_log
from unimo_bids.execution.plugins import load_plugin, make_plugin
from unimo_bids.execution.progress import Progress
from unimo_bids.execution.resources import resources
from unimo_bids.settings import Settings
from unimo_bids.spaces.names import parse_spaces
from unimo_bids.spaces.templateflow import fetch_templates
from unimo_bids.workflows.citation import methods_section, read_citation, write_citation
from unimo_bids.workflows.participant import init_unimo_wf

_LOG = logging.getLogger("unimo_bids")


def run_participants(settings: Settings) -> Outcome:
    """Correct all selected runs, or do only the part that was asked for."""
    plugin = load_plugin(settings.use_plugin) if settings.use_plugin else None
    if plugin and plugin.local:  # those of clusters may ask the scheduler as they are made
        make_plugin(plugin, {})
    selection = select_runs(settings)
    warnings = list(selection.warnings)
    if settings.reports_only:
        check_results(selection, settings.out_dir)
    enough = resources(settings)
    if settings.dry_run:
        return Outcome((plan(selection, settings, enough),))
    workflow = init_unimo_wf(
        selection, settings, use_gpu=enough.n_gpu > 0, omp_nthreads=enough.omp_nthreads
    )
    methods = methods_section(workflow.described())
    if settings.boilerplate_only:
        prepare_dataset(settings)
        write_citation(settings.out_dir, methods, only_markdown=settings.md_only_boilerplate)
        return Outcome()
    check_work(settings.work_dir)
    if not settings.reports_only:  # else every run would find out for itself, once it is corrected
        fetch_templates(parse_spaces(settings.output_spaces))
    run_id = f"{datetime.datetime.now():%Y%m%d-%H%M%S}_{uuid.uuid4()}"
    log_folders = {
        str(participant_folder(label)): settings.out_dir / log_folder(label, run_id)
        for label in selection.participants
    }
    participants, progress = [*log_folders], Progress()
    failures: list[Failure] = []
    with locked(participants, [settings.out_dir, settings.work_dir]):
        remove_interrupted(settings, participants)
        warnings[:0] = prepare_dataset(settings)
        with run_log(log_folders, verbosity=settings.verbosity, console=progress.console):
            for warning in warnings:
                _LOG.warning(warning)
            started = time.monotonic()
            if settings.reports_only:
                methods = read_citation(settings.out_dir) or methods
            else:
                write_citation(
                    settings.out_dir, methods, only_markdown=settings.md_only_boilerplate
                )
                for folder in log_folders.values():
                    settings.write(folder / SETTINGS)
                failures = run_steps(workflow, settings, enough, plugin, log_folders, progress)
            about = about_call(settings, enough, run_id, time.monotonic() - started)
            written, unwritten = write_reports(selection, settings, about, methods)
        if settings.remove_workdir and not failures:
            remove_steps(steps_folder(settings), participants)
    return _outcome(written, failures, unwritten)


def select_runs(settings: Settings) -> Selection:
    """Find the runs that the settings ask for; refuse a dataset with faults that concern them."""
    check_output(settings.out_dir)
    check_bold(settings.bids_dir)
    selection = find_runs(settings)
    if settings.skip_bids_validation or settings.reports_only:
        return selection
    about_dataset = check_dataset(settings.bids_dir, used_files(selection, settings))
    warnings = (about_dataset, *selection.warnings) if about_dataset else selection.warnings
    return replace(selection, warnings=warnings)


def _outcome(
    written: Sequence[Path], failures: Sequence[Failure], unwritten: Sequence[str]
) -> Outcome:
    complaints = []
    for failure in failures:
        crash = f" ({failure.crash_file})" if failure.crash_file else ""
        complaints.append(f"failed: {failure.run}, {failure.step}: {failure.reason}{crash}")
    complaints += [f"failed: {report}" for report in unwritten]
    code = exits.FAILED if failures else exits.REPORT_FAILED if unwritten else exits.DONE
    return Outcome(tuple(written), tuple(complaints), code)

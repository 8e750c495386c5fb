"""`unimo-bids … participant`: find the runs, correct them, write the reports."""

from __future__ import annotations

from unimo_bids.execution.log import prepare_environment

prepare_environment()  # before nipype is imported

# ruff: noqa: E402
import datetime
import logging
import shutil
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from unimo_bids.bids.dataset import prepare_dataset
from unimo_bids.bids.names import log_folder, participant_folder
from unimo_bids.bids.query import Selection, find_runs
from unimo_bids.bids.validation import check_dataset
from unimo_bids.execution.failures import Failure
from unimo_bids.execution.lock import locked
from unimo_bids.execution.log import run_log
from unimo_bids.execution.naming import workflow_name
from unimo_bids.execution.plugins import load_plugin
from unimo_bids.execution.progress import Progress
from unimo_bids.execution.resources import Resources, resources
from unimo_bids.execution.runner import run_workflow
from unimo_bids.reports.crashes import read_crash
from unimo_bids.reports.participant import write_participant_report
from unimo_bids.settings import Settings
from unimo_bids.workflows.citation import methods_section, read_citation, write_citation
from unimo_bids.workflows.described import DescribedWorkflow
from unimo_bids.workflows.participant import init_unimo_wf, series_gb

_LOG = logging.getLogger("unimo_bids")
FAILED, REPORT_FAILED = 1, 3


def run_participants(settings: Settings) -> int:
    """Correct all selected runs; the exit code."""
    unchecked = None
    if not (settings.skip_bids_validation or settings.reports_only):
        unchecked = check_dataset(settings.bids_dir, settings.participant_label)
    selection = find_runs(settings)
    enough = resources(settings)
    if settings.dry_run:
        print(_plan(selection, settings, enough))
        return 0
    workflow, methods = _workflow(selection, settings, enough)
    if settings.boilerplate_only:
        prepare_dataset(settings)
        write_citation(settings.out_dir, methods)
        return 0

    run_id = f"{datetime.datetime.now():%Y%m%d-%H%M%S}_{uuid.uuid4()}"
    labels = [str(participant_folder(label)) for label in selection.participants]
    folders = {
        f"sub-{label}": settings.out_dir / log_folder(label, run_id)
        for label in selection.participants
    }
    progress = Progress()
    work = settings.work_dir / f"unimo-bids-{version('unimo-bids')}"
    with locked(labels, [settings.out_dir, settings.work_dir]):
        warnings = prepare_dataset(settings)
        with run_log(folders, verbosity=settings.verbosity, console=progress.console):
            for sentence in (unchecked, *warnings, *selection.warnings):
                if sentence:
                    _LOG.warning(sentence)
            started = time.monotonic()
            failures: list[Failure] = []
            if settings.reports_only:
                methods = read_citation(settings.out_dir) or methods
            else:
                write_citation(settings.out_dir, methods)
                for folder in folders.values():
                    settings.write(folder / "settings.toml")
                failures = _correct(workflow, settings, enough, work, folders, progress)
            about = _about(settings, enough, run_id, time.monotonic() - started)
            unwritten = _write_reports(selection, settings, about, methods)
        if settings.remove_workdir and not failures:
            _remove(work, labels)
    return _told(failures, unwritten, settings)


def _workflow(
    selection: Selection, settings: Settings, enough: Resources
) -> tuple[DescribedWorkflow, str]:
    """What is to be done, for the computer and for readers."""
    workflow = init_unimo_wf(
        selection, settings, use_gpu=enough.n_gpu > 0, omp_nthreads=enough.omp_nthreads
    )
    return workflow, methods_section(workflow.described())


def _correct(
    workflow: DescribedWorkflow,
    settings: Settings,
    enough: Resources,
    work: Path,
    folders: Mapping[str, Path],
    progress: Progress,
) -> list[Failure]:
    if settings.clean_workdir:
        _remove(work, list(folders))
    workflow.base_dir = str(work)
    first = next(iter(folders.values()))
    if settings.write_graph:
        # without Graphviz its own language is all we can write
        drawn = "svg" if shutil.which("dot") else "dot"
        workflow.write_graph(str(first / "workflow.dot"), graph2use="colored", format=drawn)
    return run_workflow(
        workflow,
        nprocs=enough.nprocs,
        mem_gb=enough.mem_gb,
        n_gpu=enough.n_gpu,
        crash_dir={**folders, "": first},
        plugin=load_plugin(settings.use_plugin) if settings.use_plugin else None,
        stop_on_first_crash=settings.stop_on_first_crash,
        progress=progress,
        resource_table=first / "resources.tsv" if settings.resource_monitor else None,
    )


def _remove(work: Path, labels: Sequence[str]) -> None:
    """Remove what lies between of some participants: others may be at work beside us."""
    for label in labels:
        folder = work / "unimo_bids_wf" / f"{workflow_name(label)}_wf"
        shutil.rmtree(folder, ignore_errors=True)


def _about(settings: Settings, enough: Resources, run_id: str, seconds: float) -> dict[str, str]:
    when = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    about = {
        "Version": f"unimo-bids {version('unimo-bids')}, PyTorch {version('torch')}",
        "Weights": "none: motion is estimated without a network",
        "Data": str(settings.bids_dir),
        "Written": when,
        "Run": run_id,
        "Command": " ".join(sys.argv),
    }
    if not settings.reports_only:
        about["Runtime"] = f"{seconds / 60:.1f} minutes on {enough.nprocs} processors"
    return about


def _write_reports(
    selection: Selection,
    settings: Settings,
    about: Mapping[str, str],
    methods: str,
) -> list[str]:
    """Write a report for each participant; which could not be written, and why."""
    unwritten = []
    for label, runs in selection.participants.items():
        participant = str(participant_folder(label))
        # names of log folders begin with the time; those without settings only made reports
        logs = sorted((settings.out_dir / participant / "log").glob("*/settings.toml"))
        crashes = logs[-1].parent.glob("crash-*.txt") if logs else ()
        try:
            write_participant_report(
                settings.out_dir,
                participant,
                about=about,
                methods=methods,
                errors=[read_crash(path) for path in sorted(crashes)],
                runs=[run.name for run in runs],
            )
        except Exception as error:
            _LOG.error("report of sub-%s: %s", label, error, exc_info=settings.debug)
            unwritten.append(f"report of sub-{label}: {error}")
    return unwritten


def _told(failures: Sequence[Failure], unwritten: Sequence[str], settings: Settings) -> int:
    """Say how it ended, the reasons last; the exit code."""
    reports = sorted(settings.out_dir.glob("sub-*.html"))
    print(*reports, sep="\n")
    for failure in failures:
        where = f" ({failure.crash_file})" if failure.crash_file else ""
        print(f"failed: {failure.run}, {failure.step}: {failure.reason}{where}", file=sys.stderr)
    for sentence in unwritten:
        print(f"failed: {sentence}", file=sys.stderr)
    if failures:
        return FAILED
    return REPORT_FAILED if unwritten else 0


def _plan(selection: Selection, settings: Settings, enough: Resources) -> str:
    """What would run, with sizes and an estimate."""
    lines = [f"{'run':<48}{'echoes':>7}{'GB in memory':>14}{'minutes':>9}"]
    total = 0.0
    for run in selection.runs:
        gb = series_gb(run.paths[0])
        # measured: see docs/benchmarks.md
        minutes = gb * len(run.paths) * _MINUTES_PER_GB
        total += minutes
        lines.append(f"{run.name:<48}{len(run.paths):>7}{gb:>14.2f}{minutes:>9.1f}")
    side_by_side = min(len(selection.runs), enough.nprocs // enough.omp_nthreads)
    lines.append(
        f"{len(selection.runs)} runs, about {total / max(1, side_by_side):.0f} minutes with"
        f" {side_by_side} side by side; results in {settings.out_dir}, work in"
        f" {settings.work_dir}"
    )
    return "\n".join(lines)


# of float32 series, one thread: the whole app on 64×64×40×300
_MINUTES_PER_GB = 15.0

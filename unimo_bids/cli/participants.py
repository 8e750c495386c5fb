"""`unimo-bids … participant`: find the runs, correct them, write the reports."""

from __future__ import annotations

from unimo_bids.execution.log import prepare_environment

prepare_environment()  # before nipype is imported

# ruff: noqa: E402
import contextlib
import datetime
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from unimo_bids.bids.dataset import check_output, prepare_dataset
from unimo_bids.bids.names import CITATION, log_folder, participant_folder
from unimo_bids.bids.query import Selection, check_bold, find_runs, used_files
from unimo_bids.bids.validation import check_dataset
from unimo_bids.cli.plan import plan
from unimo_bids.cli.printing import say
from unimo_bids.errors import InputError, MachineError, UnimoError
from unimo_bids.execution.failures import Failure
from unimo_bids.execution.lock import locked
from unimo_bids.execution.log import run_log
from unimo_bids.execution.naming import workflow_name
from unimo_bids.execution.plugins import PluginChoice, load_plugin, make_plugin
from unimo_bids.execution.progress import Progress
from unimo_bids.execution.remains import remove_damaged
from unimo_bids.execution.resources import Resources, resources
from unimo_bids.execution.runner import run_workflow
from unimo_bids.files.staging import STALE_S, atomic, remove_unfinished
from unimo_bids.reports.crashes import read_crash
from unimo_bids.reports.participant import write_participant_report
from unimo_bids.reports.reportlets import find_reportlets
from unimo_bids.settings import Settings
from unimo_bids.workflows.citation import methods_section, read_citation, write_citation
from unimo_bids.workflows.described import DescribedWorkflow
from unimo_bids.workflows.participant import init_unimo_wf

_LOG = logging.getLogger("unimo_bids")
FAILED, REPORT_FAILED = 1, 3
_DRAWING_S = 60
_ALL_STEPS = "unimo_bids_wf"


def run_participants(settings: Settings) -> int:
    """Correct all selected runs; the exit code."""
    plugin = load_plugin(settings.use_plugin) if settings.use_plugin else None
    if plugin and plugin.local:  # those of clusters may ask the scheduler as they are made
        make_plugin(plugin, {})
    check_output(settings.out_dir)
    check_bold(settings.bids_dir)
    selection = find_runs(settings)
    about_dataset = None
    if not (settings.skip_bids_validation or settings.reports_only):
        about_dataset = check_dataset(settings.bids_dir, used_files(selection, settings))
    if settings.reports_only:
        _refuse_nothing(selection, settings.out_dir)
    enough = resources(settings)
    if settings.dry_run:
        say(plan(selection, settings, enough))
        return 0
    workflow, methods = _workflow(selection, settings, enough)
    if settings.boilerplate_only:
        prepare_dataset(settings)
        write_citation(settings.out_dir, methods, only_markdown=settings.md_only_boilerplate)
        return 0

    run_id = f"{datetime.datetime.now():%Y%m%d-%H%M%S}_{uuid.uuid4()}"
    _check_work(settings.work_dir)
    labels = [str(participant_folder(label)) for label in selection.participants]
    folders = {
        f"sub-{label}": settings.out_dir / log_folder(label, run_id)
        for label in selection.participants
    }
    progress = Progress()
    work = settings.work_dir / f"unimo-bids-{version('unimo-bids')}"
    with locked(labels, [settings.out_dir, settings.work_dir]):
        _remove_unfinished(settings, labels)
        warnings = prepare_dataset(settings)
        with run_log(folders, verbosity=settings.verbosity, console=progress.console):
            for sentence in (about_dataset, *warnings, *selection.warnings):
                if sentence:
                    _LOG.warning(sentence)
            started = time.monotonic()
            failures: list[Failure] = []
            if settings.reports_only:
                methods = read_citation(settings.out_dir) or methods
            else:
                write_citation(
                    settings.out_dir, methods, only_markdown=settings.md_only_boilerplate
                )
                for folder in folders.values():
                    settings.write(folder / "settings.toml")
                failures = _correct(workflow, settings, enough, plugin, work, folders, progress)
            about = _about(settings, enough, run_id, time.monotonic() - started)
            written, unwritten = _write_reports(selection, settings, about, methods)
        if settings.remove_workdir and not failures:
            _remove(work, labels)
    return _told(written, failures, unwritten)


def _check_work(folder: Path) -> None:
    """Refuse a work folder that cannot be written; nobody need have asked for it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        finding = f"the work folder cannot be written ({error.strerror})"
        raise MachineError(folder, finding, "choose another by --work-dir") from error


def _refuse_nothing(selection: Selection, out_dir: Path) -> None:
    """Refuse to report where there is nothing of any participant, not even a failure."""
    for label in selection.participants:
        folder = out_dir / participant_folder(label)
        if _calls(folder) or find_reportlets(folder / "figures"):
            return
    finding = "there are no results of these participants in this folder"
    raise InputError(out_dir, finding, "run without --reports-only first")


def _calls(folder: Path) -> list[Path]:
    """Log folders of the calls that corrected runs of a participant, the last one last."""
    # their names begin with the time; those without settings only made reports
    return [path.parent for path in sorted(folder.glob("log/*/settings.toml"))]


def _remove_unfinished(settings: Settings, labels: Sequence[str]) -> None:
    """Remove what killed calls were writing."""
    out = settings.out_dir
    # The participants are locked: nobody else is writing their files, but for jobs on a cluster,
    # which may live on when their call was killed.
    age = STALE_S if settings.use_plugin else 0.0
    for label in labels:
        for page in (f"{label}.html", f"{label}_ses-*.html"):
            remove_unfinished(out, page)
        for inside, _, _ in os.walk(out / label):
            remove_unfinished(Path(inside), older_than_s=age)
    # of the whole dataset: calls on other participants may be writing it
    for folder in (out, (out / CITATION).parent):
        remove_unfinished(folder, older_than_s=STALE_S)


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
    plugin: PluginChoice | None,
    work: Path,
    folders: Mapping[str, Path],
    progress: Progress,
) -> list[Failure]:
    if settings.clean_workdir:
        _remove(work, list(folders))
    workflow.base_dir = str(work)
    for label in folders:
        for path in remove_damaged(_step_folder(work, label)):
            _LOG.warning("%s was damaged: its step is done anew.", path)
    first = next(iter(folders.values()))
    if settings.write_graph:
        _draw(workflow, first / "workflow.dot")
    return run_workflow(
        workflow,
        nprocs=enough.nprocs,
        mem_gb=enough.mem_gb,
        n_gpu=enough.n_gpu,
        crash_dir={**folders, "": first},
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


def _remove(work: Path, labels: Sequence[str]) -> None:
    """Remove what lies between of some participants: others may be at work beside us."""
    for label in labels:
        shutil.rmtree(_step_folder(work, label), ignore_errors=True)
    for folder in (work / _ALL_STEPS, work):
        with contextlib.suppress(OSError):  # not empty, or not there
            folder.rmdir()


def _step_folder(work: Path, label: str) -> Path:
    """Where the steps of a participant, ``sub-01``, work."""
    return work / _ALL_STEPS / f"{workflow_name(label)}_wf"


def _about(settings: Settings, enough: Resources, run_id: str, seconds: float) -> dict[str, str]:
    from unimo_bids.networks.weights import shipped

    when = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    about = {
        "Version": f"unimo-bids {version('unimo-bids')}, PyTorch {version('torch')}",
        "Weights": shipped(),
        "Data": str(settings.bids_dir),
        "Written": when,
        "Run": run_id,
        "Command": " ".join(sys.argv),
    }
    if not settings.reports_only:
        about["Runtime"] = f"{seconds / 60:.1f} minutes"
        if not settings.use_plugin:  # which may have had others
            about["Processors"] = str(enough.nprocs)
    return about


def _write_reports(
    selection: Selection,
    settings: Settings,
    about: Mapping[str, str],
    methods: str,
) -> tuple[list[Path], list[str]]:
    """Write a report for each participant; where they are, and which failed for what reason."""
    written, unwritten = [], []
    for label, runs in selection.participants.items():
        participant = str(participant_folder(label))
        calls = _calls(settings.out_dir / participant)
        crashes = calls[-1].glob("crash-*.txt") if calls else ()
        try:
            page = write_participant_report(
                settings.out_dir,
                participant,
                about=about,
                methods=methods,
                errors=[read_crash(path) for path in sorted(crashes)],
                runs=[run.name for run in runs],
                most_sessions=settings.aggregate_session_reports,
            )
            written.append(page)
        except Exception as error:
            _LOG.error("report of sub-%s: %s", label, error, exc_info=settings.debug)
            unwritten.append(f"report of sub-{label}: {error}")
    return written, unwritten


def _told(written: Sequence[Path], failures: Sequence[Failure], unwritten: Sequence[str]) -> int:
    """Say how it ended, the reasons last; the exit code."""
    for failure in failures:
        where = f" ({failure.crash_file})" if failure.crash_file else ""
        print(f"failed: {failure.run}, {failure.step}: {failure.reason}{where}", file=sys.stderr)
    for sentence in unwritten:
        print(f"failed: {sentence}", file=sys.stderr)
    if written:
        say(*written)
    if failures:
        return FAILED
    return REPORT_FAILED if unwritten else 0

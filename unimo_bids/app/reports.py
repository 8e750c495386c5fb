"""The reports of all participants of a call, whatever failed."""

from __future__ import annotations

import datetime
import logging
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from unimo_bids.bids.names import finished_logs, participant_folder
from unimo_bids.bids.query import Selection
from unimo_bids.errors import InputError
from unimo_bids.execution.resources import Resources
from unimo_bids.reports.crashes import read_crash
from unimo_bids.reports.participant import write_participant_report
from unimo_bids.reports.reportlets import find_reportlets
from unimo_bids.settings import Settings

_LOG = logging.getLogger("unimo_bids")


def check_results(selection: Selection, out_dir: Path) -> None:
    """Refuse to write reports where no participant has results or a recorded failure."""
    for label in selection.participants:
        folder = out_dir / participant_folder(label)
        if finished_logs(folder) or find_reportlets(folder / "figures"):
            return
    finding = "there are no results of these participants in this folder"
    raise InputError(out_dir, finding, "run without --reports-only first")


def about_call(
    settings: Settings, resources: Resources, run_id: str, seconds: float
) -> dict[str, str]:
    """Describe the program and the call that made the results, for the reports."""
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
            about["Processors"] = str(resources.nprocs)
    return about


def write_reports(
    selection: Selection, settings: Settings, about: Mapping[str, str], methods: str
) -> tuple[list[Path], list[str]]:
    """Write a report for each participant; returns their paths, and the reasons of failures."""
    written, failed = [], []
    for label, runs in selection.participants.items():
        participant = str(participant_folder(label))
        logs = finished_logs(settings.out_dir / participant)
        crashes = logs[-1].glob("crash-*.txt") if logs else ()
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
            failed.append(f"report of sub-{label}: {error}")
    return written, failed

"""`unimo-bids … group`: all runs of all participants in one table."""

from __future__ import annotations

from dataclasses import replace

from unimo_bids.app.outcome import Outcome
from unimo_bids.bids.dataset import check_output
from unimo_bids.bids.names import labels
from unimo_bids.bids.query import by_labels, raw_runs
from unimo_bids.errors import InputError
from unimo_bids.execution.lock import locked
from unimo_bids.files.staging import remove_unfinished
from unimo_bids.reports.group import find_summaries, write_group_report
from unimo_bids.reports.reportlets import run_order
from unimo_bids.settings import Settings

_NAMED = 20  # of the runs without results; the page names all


def run_group(settings: Settings) -> Outcome:
    """Write the table and page of all runs, or of those with the labels given."""
    check_output(settings.out_dir)
    summaries = find_summaries(settings.out_dir)
    remedy = "run the participant level first"
    if not summaries:
        finding = "there are no results of participants in this folder"
        raise InputError(settings.out_dir, finding, remedy)
    known = raw_runs(settings.bids_dir) | {name: labels(name) for name in summaries}
    # echoes have no line of their own
    chosen = sorted(by_labels(known, replace(settings, echo_idx=None)), key=run_order)
    missing = [name for name in chosen if name not in summaries]
    if missing == chosen:
        finding = "there are no results of what was asked for in this folder"
        raise InputError(settings.out_dir, finding, remedy)
    with locked(["group"], [settings.out_dir]):
        remove_unfinished(settings.out_dir, "group_bold.*")
        table, page = write_group_report(
            settings.out_dir,
            {name: summaries[name] for name in chosen if name in summaries},
            missing,
        )
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    complaint = f"no results of: {', '.join(missing[:_NAMED])}{more}"
    return Outcome((table, page), (complaint,) if missing else ())

"""`unimo-bids … group`: all runs of all participants in one table."""

from __future__ import annotations

import sys
from dataclasses import replace

from unimo_bids.bids.dataset import check_output
from unimo_bids.bids.query import by_labels, raw_runs
from unimo_bids.cli.printing import say
from unimo_bids.errors import InputError
from unimo_bids.execution.lock import locked
from unimo_bids.files.staging import remove_unfinished
from unimo_bids.reports.group import find_summaries, write_group_report
from unimo_bids.reports.reportlets import labels, run_order
from unimo_bids.settings import Settings

# the page names all
_SHOWN = 20


def run_group(settings: Settings) -> int:
    """Write the table and page of all runs, or of those with the labels given; the exit code."""
    check_output(settings.out_dir)
    there = find_summaries(settings.out_dir)
    if not there:
        finding = "there are no results of participants in this folder"
        raise InputError(settings.out_dir, finding, "run the participant level first")
    known = raw_runs(settings.bids_dir) | {name: labels(name) for name in there}
    # echoes have no line of their own
    chosen = sorted(by_labels(known, replace(settings, echo_idx=None)), key=run_order)
    lacking = [name for name in chosen if name not in there]
    if lacking == chosen:
        finding = "there are no results of what was asked for in this folder"
        raise InputError(settings.out_dir, finding, "run the participant level first")
    with locked(["group"], [settings.out_dir]):
        remove_unfinished(settings.out_dir, "group_bold.*")
        table, page = write_group_report(
            settings.out_dir, {name: there[name] for name in chosen if name in there}, lacking
        )
    say(table, page)
    if lacking:
        more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
        print(f"no results of: {', '.join(lacking[:_SHOWN])}{more}", file=sys.stderr)
    return 0

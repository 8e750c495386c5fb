"""`unimo-bids … group`: all runs of all participants in one table."""

from __future__ import annotations

from unimo_bids.bids.dataset import check_output
from unimo_bids.execution.lock import locked
from unimo_bids.reports.group import write_group_report
from unimo_bids.settings import Settings


def run_group(settings: Settings) -> int:
    """Write the group's table and page; the exit code."""
    check_output(settings.out_dir)
    with locked(["group"], [settings.out_dir]):
        table, page = write_group_report(settings.out_dir)
    print(table, page, sep="\n")
    return 0

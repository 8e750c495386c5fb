"""`unimo-bids … group`: all runs of all participants in one table."""

from __future__ import annotations

from unimo_bids.bids.dataset import check_output
from unimo_bids.errors import InputError
from unimo_bids.execution.lock import locked
from unimo_bids.reports.group import write_group_report
from unimo_bids.reports.reportlets import find_reportlets
from unimo_bids.settings import Settings


def run_group(settings: Settings) -> int:
    """Write the group's table and page; the exit code."""
    check_output(settings.out_dir)
    if not any(find_reportlets(figures) for figures in settings.out_dir.glob("sub-*/figures")):
        finding = "there are no results of participants in this folder"
        raise InputError(settings.out_dir, finding, "run the participant level first")
    with locked(["group"], [settings.out_dir]):
        table, page = write_group_report(settings.out_dir)
    print(table, page, sep="\n")
    return 0

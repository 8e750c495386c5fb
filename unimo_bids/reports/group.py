"""The report of all runs: a table, and a page that leads to each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from unimo_bids.bids.names import GROUP_REPORT, GROUP_TABLE
from unimo_bids.files.tables import write_table
from unimo_bids.reports.page import write_page
from unimo_bids.reports.reportlets import anchor, find_reportlets, run_order, session_page
from unimo_bids.reports.summary import COLUMNS, read_summary

_STRIPS = ("fd_mean", "tsnr_gain", "uncorrected_percent")


def write_group_report(
    out_dir: str | Path, summaries: Mapping[str, Path] | None = None, lacking: Sequence[str] = ()
) -> tuple[Path, Path]:
    """Write the table of all runs, or of some, and its page.

    Parameters
    ----------
    summaries
        Of the runs, by their names; by default all that `find_summaries` finds.
    lacking
        Runs that have none, for the page to name.
    """
    out_dir = Path(out_dir)
    summaries = find_summaries(out_dir) if summaries is None else summaries
    runs = [(name, read_summary(summaries[name])) for name in sorted(summaries, key=run_order)]
    table, page = out_dir / GROUP_TABLE, out_dir / GROUP_REPORT
    # a file's name may hold what would break a table apart
    names = [" ".join(name.split()) for name, _ in runs]
    columns: dict[str, Any] = {
        "run": np.array(names, dtype=object),
        "participant_id": np.array([_participant(name) for name in names], dtype=object),
    }
    for column in COLUMNS:
        values = [summary.numbers[column.name] for _, summary in runs]
        columns[column.name] = np.array(
            [np.nan if value is None else value for value in values], dtype=object
        )
    write_table(table, columns)
    write_page(
        page,
        "group.html.j2",
        "group.js",
        title="Head motion of all runs",
        columns=COLUMNS,
        participants=len({_participant(name) for name, _ in runs}),
        lacking=lacking,
        strips=[column for column in COLUMNS if column.name in _STRIPS],
        runs=[
            {"name": name, "href": _address(name, out_dir), "numbers": summary.numbers}
            for name, summary in runs
        ],
    )
    return table, page


def find_summaries(out_dir: str | Path) -> dict[str, Path]:
    """Find the summaries of complete runs, by the run's name."""
    return {
        entities: files["summary.json"]
        for figures in Path(out_dir).glob("sub-*/figures")
        for entities, files in find_reportlets(figures).items()
        if "summary.json" in files
    }


def _participant(entities: str) -> str:
    return entities.partition("_")[0]


def _address(entities: str, out_dir: Path) -> str:
    """Address of a run's figures: on the page of its session if there is one."""
    page = session_page(entities)
    if page is None or not (out_dir / page).exists():
        page = f"{_participant(entities)}.html"
    return f"{quote(page)}#{anchor(entities)}"

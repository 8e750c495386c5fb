"""Results from what other commands left or printed."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import outside
from benchmarks.machine import described, machine, versions
from benchmarks.results import FOLDER, read_result, write_result
from benchmarks.scenarios import SCENARIOS
from benchmarks.table import read_records, tidy


def take(source: Path, folder: Path = FOLDER) -> list[str]:
    """Take results over; names of the files that were changed.

    Titles and texts stay. From a folder of JSON files of ``run`` or ``outside`` everything else is
    taken. From a file with what commands printed, the rows of each table whose columns a result has
    (of several such tables, all rows). The present state and machine are noted; figures are left to
    be edited.
    """
    if source.is_file():
        return _take_printed(source.read_text(encoding="utf-8"), folder)
    found: dict[str, Any] = {}
    if records := read_records(source):
        name, (columns, *rows) = "series-simulated", tidy(records, list(SCENARIOS))
    elif records := [json.loads(path.read_text()) for path in sorted(source.glob("*.json"))]:
        name, columns, rows = "series-outside", outside.COLUMNS, map(outside.line, records)
        found["figures"] = outside.figures(records)
    else:
        raise FileNotFoundError(f"{source}: no JSON files of `run` or `outside`")
    found |= _circumstances(records) | {"columns": tuple(columns), "rows": tuple(map(tuple, rows))}
    path = folder / f"{name}.json"
    write_result(path, replace(read_result(path), **found))
    return [path.name]


def _circumstances(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    commands = {re.sub(r" --(out|cache|data) \S+", "", r["command"]) for r in records}
    threads = {f"threads: {r['threads']}" for r in records}
    tools = {f"{r['tool']} {r['tool_version']}" for r in records if r.get("tool_version")}
    machines = {described(r["machine"]) for r in records}
    return {
        "date": max(record["date"] for record in records)[:10],
        "commit": ", ".join(sorted({record["versions"]["commit"] for record in records})),
        "machine": "; ".join([*sorted(machines), *sorted(threads), *sorted(tools)]),
        "commands": tuple(sorted(commands)),
    }


def _take_printed(text: str, folder: Path) -> list[str]:
    blocks = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    rows: dict[tuple[str, ...], tuple[tuple[str, ...], ...]] = {}
    for block in blocks:
        columns, _, *more = (tuple(_cells(row)) for row in block.splitlines())
        rows[columns] = (*rows.get(columns, ()), *more)
    now = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": versions()["commit"],
        "machine": described(machine()),
    }
    changed = []
    for path in sorted(folder.glob("*.json")):
        result = read_result(path)
        if result.columns in rows:
            write_result(path, replace(result, rows=rows[result.columns], **now))
            changed.append(path.name)
    return changed


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip()[1:-1].split("|")]

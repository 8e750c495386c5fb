"""Show how far a run has come: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

Report = Callable[[float, str], None]

_LINE_EVERY = 0.25


@contextlib.contextmanager
def progress(quiet: bool = False) -> Iterator[Report]:
    """Give a function that is told the fraction done (0 to 1) and of what; it writes to stderr."""
    if quiet:
        yield lambda done, what: None
    elif sys.stderr.isatty():
        with _bar() as report:
            yield report
    else:
        yield _lines()


@contextlib.contextmanager
def _bar() -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    tasks: dict[str, TaskID] = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:

        def report(done: float, what: str) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=1.0)
            bar.update(tasks[what], completed=done)

        yield report


def _lines() -> Report:
    last: dict[str, float] = {}

    def report(done: float, what: str) -> None:
        due = what not in last or done >= last[what] + _LINE_EVERY or done >= 1 > last[what]
        if due:
            last[what] = done
            print(f"{what}: {100 * done:.0f} %", file=sys.stderr, flush=True)

    return report

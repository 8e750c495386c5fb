"""Show how far a run has come: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

Report = Callable[[float, str], None]

_LINE_EVERY = 0.1


@contextlib.contextmanager
def progress(quiet: bool = False) -> Iterator[Report]:
    """Give a function that is told the fraction done (0 to 1) and what is next; for stderr."""
    if quiet:
        yield lambda done, what: None
    elif sys.stderr.isatty():
        with _bar() as report:
            yield report
    else:
        yield _lines()


@contextlib.contextmanager
def _bar() -> Iterator[Report]:
    # not in a log, which has no bar
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<14}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("starting", total=1.0)

        def report(done: float, what: str) -> None:
            bar.update(task, completed=done, description=what)

        yield report


def _lines() -> Report:
    last_done, last_what = -1.0, ""

    def report(done: float, what: str) -> None:
        nonlocal last_done, last_what
        if what != last_what or done >= last_done + _LINE_EVERY or done >= 1 > last_done:
            last_done, last_what = done, what
            print(f"{100 * done:3.0f} % {what}", file=sys.stderr, flush=True)

    return report

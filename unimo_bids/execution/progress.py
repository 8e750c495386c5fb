"""Show how far a workflow has come: live on a terminal, line by line elsewhere."""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from unimo_bids.execution.naming import run_and_step

# with more runs than this, lines are written for whole runs only, not for each of their steps
_FEW_RUNS = 20


@dataclass(eq=False)
class _Step:
    run: _Run
    name: str
    number: int
    state: str = "waiting"  # then running, then done, failed or skipped
    started: float | None = None


@dataclass(eq=False)
class _Run:
    name: str
    steps: list[_Step] = field(default_factory=list)
    started: float | None = None

    def count(self, *states: str) -> int:
        return sum(step.state in states for step in self.steps)


class Progress:
    """What the nodes of a workflow are doing, told by the plugin that runs them.

    A context: the display is up inside it. May be told and shown from any thread.

    `console`: where to show it; stderr by default. On a terminal the display is live, one row for
    each run at work; elsewhere it is a line with the time when a step begins and when it ends.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._live: Live | None = None
        self._lock = threading.RLock()
        self._graph: Any = None
        self._steps: dict[int, _Step] = {}
        self._runs: dict[str, _Run] = {}
        self._waiting: Counter[str] = Counter()
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)
        self._began = time.monotonic()

    def __enter__(self) -> Progress:
        self._began = time.monotonic()
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self._live = Live(console=self.console, get_renderable=self._table, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._steps:
            self._say(f"{self._counts()} in {_duration(time.monotonic() - self._began)}")

    def begin(self, graph: Any) -> None:
        """Register the nodes of the workflow."""
        import networkx

        with self._lock:
            self._graph = graph
            for node in networkx.topological_sort(graph):
                run_name, step_name = run_and_step(node.fullname)
                run = self._runs.setdefault(run_name, _Run(run_name or "all"))
                step = _Step(run, step_name, len(run.steps) + 1)
                run.steps.append(step)
                self._steps[id(node)] = step
                self._waiting[step_name] += 1

    def update(self, node: Any, status: str) -> None:
        """Update the state of a node: a status callback of Nipype.

        Parameters
        ----------
        node
            One of the graph's nodes; others (parts of a MapNode) are passed over.
        status
            ``start``, ``end`` or ``exception``. A node that was finished before has only an end.
        """
        with self._lock:
            step = self._steps.get(id(node))
            if step is None or step.state in ("done", "failed", "skipped"):
                return
            now = time.monotonic()
            if status == "start":
                self._start(step, now)
            elif status == "end":
                self._end(step, "done", now)
            elif status == "exception":
                import networkx

                self._end(step, "failed", now)
                for waiting in networkx.descendants(self._graph, node):
                    self._skip(self._steps[id(waiting)])

    def _start(self, step: _Step, now: float) -> None:
        step.state, step.started = "running", now
        step.run.started = step.run.started or now
        self._waiting[step.name] -= 1
        if self._lines_for_steps():
            self._say(f"{_title(step)} …")

    def _end(self, step: _Step, state: str, now: float) -> None:
        if step.started is None:
            self._waiting[step.name] -= 1
            took = "was done before" if state == "done" else state
        else:
            seconds = now - step.started
            took = f"{state} ({_duration(seconds)})"
            if state == "done":
                self._seconds[step.name].append(seconds)
        step.state = state
        if state == "failed" or self._lines_for_steps():
            self._say(f"{_title(step)} {took}")
        elif self._live is None and not step.run.count("waiting", "running"):
            self._say(f"{step.run.name}: finished; {self._counts_and_time_left()}")

    def _skip(self, step: _Step) -> None:
        if step.state == "waiting":
            step.state = "skipped"
            self._waiting[step.name] -= 1

    def _lines_for_steps(self) -> bool:
        return self._live is None and len(self._runs) <= _FEW_RUNS

    def _say(self, line: str) -> None:
        # Text: what stands in brackets is not markup
        self.console.print(Text(f"{time.strftime('%H:%M:%S')} {line}"), soft_wrap=True)

    def _counts(self) -> str:
        states = Counter(step.state for step in self._steps.values())
        said = f"{states['done']}/{len(self._steps)} steps done"
        if states["failed"]:
            said += f", {states['failed']} failed, {states['skipped']} left out"
        return said

    def _counts_and_time_left(self) -> str:
        said, left = self._counts(), self.remaining_s()
        return said if left is None or left < 1 else f"{said}, about {_duration(left)} left"

    def remaining_s(self) -> float | None:
        """Estimate the seconds left; None as long as nothing is known.

        Each step is taken to last as long as it did in other runs, or as steps do on average, and
        as many to go on at once as did so far.
        """
        with self._lock:
            took = {name: statistics.fmean(each) for name, each in self._seconds.items()}
            if not took:
                return None
            usual = statistics.fmean(took.values())
            now = time.monotonic()
            running = [step for step in self._steps.values() if step.state == "running"]
            so_far = {id(step): now - (step.started or now) for step in running}
            left = sum(count * took.get(name, usual) for name, count in self._waiting.items())
            left += sum(max(0, took.get(step.name, usual) - so_far[id(step)]) for step in running)
            worked = sum(map(sum, self._seconds.values())) + sum(so_far.values())
            at_once = max(worked / max(now - self._began, 1e-3), 0.1)
            return left / at_once

    def _table(self) -> Table:
        """Draw the live display: a row for each run at work, then all together."""
        with self._lock:
            now = time.monotonic()
            table = Table.grid(padding=(0, 2))
            active = [step for step in self._steps.values() if step.state == "running"]
            room = max(1, self.console.height - 3)
            for step in active[:room]:
                elapsed = _duration(now - (step.started or now))
                title = f"{step.name} {step.number}/{len(step.run.steps)}"
                table.add_row(Text(step.run.name), Text(title), elapsed)
            if len(active) > room:
                table.add_row(f"and {len(active) - room} more")
            over = sum(step.state not in ("waiting", "running") for step in self._steps.values())
            bar = ProgressBar(total=max(len(self._steps), 1), completed=over, width=30)
            table.add_row(bar, self._counts_and_time_left(), _duration(now - self._began))
            return table


def _title(step: _Step) -> str:
    return f"{step.run.name}: {step.name} {step.number}/{len(step.run.steps)}"


def _duration(seconds: float) -> str:
    """Format a time in one or two units.

    >>> _duration(7.2), _duration(65), _duration(7300)
    ('7 s', '1 min 05 s', '2 h 01 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"

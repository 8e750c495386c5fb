import io
import re

import networkx
import pytest
from rich.console import Console

from unimo_bids.execution import progress as module
from unimo_bids.execution.progress import Progress

STEPS = ("validate", "motion", "report")


class FakeNode:
    def __init__(self, fullname):
        self.fullname = fullname


def runs(count):
    """A graph of so many runs, and their nodes: one list for each run."""
    graph = networkx.DiGraph()
    nodes = []
    for k in range(count):
        nodes.append([FakeNode(f"wf.sub_{k:03d}_wf.task_rest_wf.{step}") for step in STEPS])
        networkx.add_path(graph, nodes[-1])
    return graph, nodes


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def lines_of(console):
    return [line[9:] for line in console.file.getvalue().splitlines()]


def plain():
    return Console(file=io.StringIO(), width=60)


def live():
    return Console(file=io.StringIO(), force_terminal=True, width=100, height=10, _environ={})


def test_lines_of_a_run(clock):
    graph, ((validate, motion, report),) = runs(1)
    with Progress(plain()) as progress:
        progress.begin(graph)
        progress.update(validate, "end")  # finished by a run before
        progress.update(motion, "start")
        clock[0] += 65
        progress.update(motion, "end")
        progress.update(report, "start")
        clock[0] += 1
        progress.update(report, "end")
    said = progress.console.file.getvalue()
    assert re.match(r"\d\d:\d\d:\d\d sub-000", said)
    assert lines_of(progress.console) == [
        "sub-000 task-rest: validate 1/3 was done before",
        "sub-000 task-rest: motion 2/3 …",
        "sub-000 task-rest: motion 2/3 done (1 min 05 s)",
        "sub-000 task-rest: report 3/3 …",
        "sub-000 task-rest: report 3/3 done (1 s)",
        "3/3 steps done in 1 min 06 s",
    ]


def test_failure_leaves_out_what_waits_for_it(clock):
    graph, ((validate, *_), _) = runs(2)
    with Progress(plain()) as progress:
        progress.begin(graph)
        progress.update(validate, "start")
        progress.update(validate, "exception")
        progress.update(validate, "end")  # nipype says both of a node on its own thread
    assert lines_of(progress.console)[1:] == [
        "sub-000 task-rest: validate 1/3 failed (0 s)",
        "0/6 steps done, 1 failed, 2 left out in 0 s",
    ]


def test_many_runs_are_no_flood(clock):
    graph, nodes = runs(500)
    with Progress(plain()) as progress:
        progress.begin(graph)
        for run in nodes:
            for node in run:
                progress.update(node, "start")
                clock[0] += 2
                progress.update(node, "end")
    said = lines_of(progress.console)
    assert len(said) == 500 + 1
    assert said[0] == "sub-000 task-rest: finished; 3/1500 steps done, about 49 min 54 s left"


def test_time_left(clock):
    graph, ((a1, a2, a3), (b1, b2, _)) = runs(2)
    progress = Progress(plain())
    progress.begin(graph)
    assert progress.remaining_s() is None
    for node, seconds in ((a1, 1), (a2, 20), (a3, 3)):
        progress.update(node, "start")
        clock[0] += seconds
        progress.update(node, "end")
    # one at a time so far, and the other run takes as long
    assert progress.remaining_s() == pytest.approx(24)
    progress.update(b1, "end")
    progress.update(b2, "start")
    clock[0] += 5
    assert progress.remaining_s() == pytest.approx(15 + 3)


def test_live_display(clock):
    graph, nodes = runs(30)
    with Progress(live()) as progress:
        progress.begin(graph)
        for validate, motion, _ in nodes[:12]:
            progress.update(validate, "start")
            progress.update(validate, "end")
            progress.update(motion, "start")
        clock[0] += 7
        shown = Console(file=io.StringIO(), width=100)
        shown.print(progress._table())
        progress.update(nodes[0][1], "exception")
    text = shown.file.getvalue()
    assert re.search(r"sub-003 task-rest +motion 2/3 +7 s", text)
    assert "and 5 more" in text  # it fits the height of the terminal
    assert "12/90 steps done" in text
    said = progress.console.file.getvalue()
    assert "sub-000 task-rest: motion 2/3 failed (7 s)" in said
    assert "12/90 steps done, 1 failed, 1 left out" in said

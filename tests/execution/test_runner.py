import shutil
import time

import pytest

from tests.execution.workflows import SMALL, die, fail, node, run_of, times, whole, work
from unimo_bids.execution import multiproc
from unimo_bids.execution.runner import run_workflow

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("SIGKILL", "killed (SIGKILL), probably out of memory: it asked for 3 GB"),
        ("SIGSEGV", "crashed in compiled code (SIGSEGV)"),
        ("exit", "ended by itself (exit code 3)"),
    ],
)
def test_node_whose_process_dies_fails_and_others_go_on(tmp_path, notes, how, said):
    bad = run_of(
        "01", "rest", node(die, "motion", notes, mem_gb=3, how=how), node(work, "behind", notes)
    )
    good = run_of("02", "rest", node(work, "slow", notes, seconds=1), node(work, "last", notes))
    begin = time.monotonic()
    failures = run_workflow(whole(tmp_path, bad, good), **SMALL, crash_dir=tmp_path / "crash")
    assert time.monotonic() - begin < 30
    (failure,) = failures
    assert failure.node == "unimo_bids_wf.sub_01_wf.task_rest_wf.motion"
    assert (failure.run, failure.step) == ("sub-01 task-rest", "motion")
    assert said in failure.reason
    assert failure.crash_file.parent == tmp_path / "crash"
    crash = failure.crash_file.read_text()
    assert crash.startswith("Node: unimo_bids_wf.sub_01_wf.task_rest_wf.motion\n")
    assert failure.reason in crash
    assert "last words" in crash
    # a sibling that was at work is not disturbed: it ran once, to its end
    assert len(times(notes, "slow.began")) == 1
    assert len(times(notes, "last.ended")) == 1
    assert not times(notes, "behind.began")


def test_crash_files_go_to_their_participants(tmp_path, notes):
    parts = [run_of(label, "rest", node(fail, "validate", notes)) for label in ("01", "02")]
    folders = {f"sub-{label}": tmp_path / f"sub-{label}" / "log" for label in ("01", "02")}
    failures = run_workflow(whole(tmp_path, *parts), **SMALL, crash_dir=folders)
    assert {failure.crash_file.parent for failure in failures} == set(folders.values())
    assert all(failure.run.split()[0] in str(failure.crash_file) for failure in failures)


def test_crash_file_that_cannot_be_written_stops_nothing(tmp_path, notes):
    (tmp_path / "crash").write_text("a file where the folder should be")
    bad = run_of("01", "rest", node(fail, "validate", notes))
    good = run_of("02", "rest", node(work, "a", notes, seconds=1), node(work, "b", notes))
    (failure,) = run_workflow(whole(tmp_path, bad, good), **SMALL, crash_dir=tmp_path / "crash")
    assert failure.crash_file is None
    assert "has [no] volumes" in failure.reason
    assert times(notes, "b.ended")


def test_node_that_cannot_be_sent_to_a_process_fails(tmp_path, notes):
    bad = node(work, "unpicklable", notes)
    bad.plugin_args = {"never": lambda: None}
    good = node(work, "fine", notes)
    (failure,) = run_workflow(
        whole(tmp_path, run_of("01", "rest", bad), run_of("02", "rest", good)),
        **SMALL,
        crash_dir=tmp_path,
    )
    assert "<lambda>" in failure.reason  # Python words it anew from version to version
    assert times(notes, "fine.ended")


def length_of_file(path):  # nipype carries over its source alone
    from pathlib import Path

    return len(Path(path).read_text())


@pytest.mark.parametrize("before", [False, True])
def test_node_that_cannot_take_its_input_fails(tmp_path, notes, before):
    """If it was run before, nipype asks for its input in the parent, and there ends the run."""
    file = tmp_path / "file"

    def parts():
        giver, taker = node(give, "giver", notes), node(work, "taker", notes)
        giver.inputs.path = str(file)
        bad = run_of("01", "rest", giver)
        bad.get_node("task_rest_wf").connect(giver, ("out", length_of_file), taker, "after")
        return bad, run_of("02", "rest", node(work, "a", notes), node(work, "b", notes))

    if before:
        file.write_text("something")
        assert run_workflow(whole(tmp_path, *parts()), **SMALL, crash_dir=tmp_path) == []
        file.unlink()
        shutil.rmtree(tmp_path / "unimo_bids_wf/sub_02_wf")
    (failure,) = run_workflow(whole(tmp_path, *parts()), **SMALL, crash_dir=tmp_path)
    assert failure.step == "taker"
    assert "No such file" in failure.reason
    assert len(times(notes, "b.ended")) == 1 + before


def give(notes, word, path):
    return path


def test_first_crash_ends_all_if_asked(tmp_path, notes, monkeypatch):
    monkeypatch.setattr(multiproc, "_LEAVE_WITHIN_S", 100.0)  # nobody is waited for, all are killed
    bad = run_of("01", "rest", node(fail, "validate", notes))
    good = run_of("02", "rest", node(work, "slow", notes, seconds=50))
    begin = time.monotonic()
    failures = run_workflow(
        whole(tmp_path, bad, good), **SMALL, crash_dir=tmp_path, stop_on_first_crash=True
    )
    assert len(failures) == 1
    assert time.monotonic() - begin < 30
    assert not times(notes, "slow.ended")


def test_resource_table(tmp_path, notes):
    def grab(notes, word):
        import time

        block = b"x" * 400_000_000
        time.sleep(0.5)
        return len(block)

    workflow = whole(
        tmp_path, run_of("01", "rest", node(grab, "large", notes), node(work, "small", notes))
    )
    table = tmp_path / "log" / "resources.tsv"
    assert run_workflow(workflow, **SMALL, crash_dir=tmp_path, resource_table=table) == []
    rows = [line.split("\t") for line in table.read_text().splitlines()]
    assert rows[0] == ["node", "seconds", "peak_gb", "mem_gb", "n_procs"]
    peak = {row[0].rsplit(".")[-1]: float(row[2]) for row in rows[1:]}
    assert peak["large"] - peak["small"] == pytest.approx(0.4 / 1.024**3, abs=0.05)

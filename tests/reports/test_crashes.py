from __future__ import annotations

import nipype.pipeline.engine as pe
import pytest
from nipype.interfaces.utility import Function

from unimo_bids.reports.crashes import read_crash


def _fail():
    raise ValueError("no brain was found")


def test_nipypes_own_files(tmp_path):
    log = tmp_path / "sub-01" / "log" / "a-run"
    node = pe.Node(Function(function=_fail), name="brain")
    workflow = pe.Workflow("bold_task_rest_wf", base_dir=str(tmp_path / "work"))
    workflow.config["execution"] = {"crashdump_dir": str(log), "crashfile_format": "txt"}
    workflow.add_nodes([node])
    with pytest.raises(Exception, match="no brain"):
        workflow.run()
    (path,) = log.glob("crash-*.txt")
    crash = read_crash(path)
    assert crash.node == "bold_task_rest_wf.brain"
    assert crash.message == "ValueError: no brain was found"
    assert crash.traceback.startswith("Traceback (most recent call last)")
    assert crash.run == "task-rest"


def test_a_killed_process_has_no_traceback(tmp_path):
    path = tmp_path / "crash-1.txt"
    node = "unimo_bids_wf.sub_01_wf.ses_a_task_rest_run_1_wf.track"
    path.write_text(f"Node: {node}\n\nThe process was killed (signal 9).\n")
    crash = read_crash(path)
    assert (crash.node, crash.run) == (node, "sub-01_ses-a_task-rest_run-1")
    assert crash.message == "The process was killed (signal 9)."


def test_refusals_are_plain_sentences(tmp_path):
    path = tmp_path / "crash-1.txt"
    path.write_text(
        "Traceback (most recent call last):\n  x\nunimo_bids.errors.InputError: a: b.\n"
    )
    assert read_crash(path).message == "a: b."


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00garbage", b"x" * 10**6])
def test_damaged_files_are_shown_as_far_as_they_go(tmp_path, content):
    path = tmp_path / "crash-1.txt"
    path.write_bytes(content)
    crash = read_crash(path)
    assert crash.node == "crash-1" and crash.message and len(crash.traceback) < 50_000

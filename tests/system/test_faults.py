"""Broken runs, killed workers, other instances: the rest stands, and users are told."""

from __future__ import annotations

import re
import signal
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.system import study
from tests.system.test_options import again, steps

VERSIONED = f"unimo-bids-{version('unimo-bids')}"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> Path:
    """A run that is good, and four that cannot be used."""
    folder = study.describe(tmp_path_factory.mktemp("broken") / "raw", ["01", "02"])
    good, bad = folder / "sub-01" / "func", folder / "sub-02" / "func"
    study.image(good / "sub-01_task-rest_bold.nii.gz", study.frames(5))
    whole = study.image(bad / "sub-02_task-rest_run-1_bold.nii.gz", study.frames(6))
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    study.image(bad / "sub-02_task-rest_run-2_bold.nii.gz", study.frames(6)[..., 0])
    zeros = np.zeros_like(study.frames(6))
    study.image(bad / "sub-02_task-rest_run-3_bold.nii.gz", zeros)
    (bad / "sub-02_task-rest_run-4_bold.nii.gz").symlink_to("../../.git/annex/objects/zz/SHA.gz")
    return folder


def test_broken_runs_take_nothing_else_down(broken, tmp_path):
    out, work = tmp_path / "out", tmp_path / "work"
    stale = work / VERSIONED / "unimo_bids_wf/sub_01_wf/old/result.pklz"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of yesterday")
    first = study.start(
        broken, out, "participant", "--work-dir", work, "--skip-bids-validation", "--clean-workdir"
    )
    # meanwhile another instance wants the same participants
    waiting = time.monotonic() + 60
    while not (out / ".locks" / "sub-01.json").exists() and time.monotonic() < waiting:
        time.sleep(0.05)
    second = study.call(
        broken, out, "participant", "--work-dir", tmp_path / "other", "--skip-bids-validation",
        cwd=tmp_path,
    )  # fmt: skip
    assert second.code == 1
    assert f"process {first.pid} on" in second.last and "sub-01 is being worked on" in second.last
    assert "Traceback" not in second.err

    finished = study.ended(first)
    assert finished.code == 1, finished.err
    assert not stale.exists()
    assert (out / "sub-01/func/sub-01_task-rest_desc-preproc_bold.nii.gz").exists()
    assert not (out / "sub-02" / "func").exists()
    assert finished.out.splitlines()[-2:] == [str(out / "sub-01.html"), str(out / "sub-02.html")]
    reasons = finished.err.splitlines()[-4:]
    told = ("", "3 dimensions", "every frame is empty", "link to nothing; fetch the file (datalad")
    for run, said in enumerate(told, start=1):
        (line,) = [one for one in reasons if f"run-{run}" in one]
        name = f"sub-02_task-rest_run-{run}_bold.nii.gz"
        form = rf"failed: sub-02 task-rest run-{run}, prepare: (.+{name}: .+\.) \((.+)\)"
        sentence, crash = re.fullmatch(form, line).groups()
        assert said in sentence and sentence.startswith(str(broken)), sentence
        assert Path(crash).is_file() and Path(crash).is_relative_to(out / "sub-02" / "log")
    assert "Traceback" not in finished.err
    page = (out / "sub-02.html").read_text()
    for run in (1, 2, 3, 4):
        assert f"sub-02_task-rest_run-{run}" in page
    assert page.count("crash-") >= 4
    assert study.leftovers(out) == []

    # the failures are still told when only the reports are made again
    finished = study.call(
        broken, out, "participant", "--reports-only", "--skip-bids-validation", "--work-dir", work
    )
    assert finished.code == 0, finished.err
    assert (out / "sub-02.html").read_text().count("crash-") == page.count("crash-")


def test_a_killed_worker_fails_alone_and_can_be_made_good(done, tmp_path):
    """And what is there in the end is what an undisturbed run has made, byte by byte."""
    out, work = tmp_path / "out", tmp_path / "work"
    words = ("--work-dir", work, "--task-id", "rest", "--session-label", "a")
    process = study.start(done.raw, out, "participant", *done.words, *words)
    killed = _kill_worker(process, work / VERSIONED, "run_2_wf/motion")
    finished = study.ended(process)
    since = time.monotonic() - killed
    assert finished.code == 1, finished.err
    assert since < 60
    said = r"failed: sub-01 ses-a task-rest run-2, motion: .*was killed \(SIGKILL\).* \(.+\.txt\)"
    assert re.fullmatch(said, finished.last)
    assert list((out / "sub-01/ses-a/func").glob("*run-1_desc-preproc_bold.nii.gz"))
    assert not list((out / "sub-01/ses-a/func").glob("*run-2*"))
    page = (out / "sub-01.html").read_text()
    assert "was killed" in page

    finished = study.call(done.raw, out, "participant", *done.words, *words)
    assert finished.code == 0, finished.err
    assert "run-2: prepare" not in "\n".join(
        line for line in finished.err.splitlines() if line.endswith("…")
    )
    same = {k: v for k, v in study.digests(done.out).items() if "ses-a" in k}
    assert {k: v for k, v in study.digests(out).items() if "ses-a" in k} == same and same
    assert study.leftovers(out) == []


def _kill_worker(process, work: Path, node: str) -> float:
    """Kill the process that works in a node's folder, in its midst; when."""
    until = time.monotonic() + 120
    parent = psutil.Process(process.pid)
    while time.monotonic() < until and process.poll() is None:
        for one in parent.children(recursive=True):
            try:
                inside = str(one.cwd()).endswith(node)
            except psutil.Error:
                continue
            if inside:
                one.send_signal(signal.SIGKILL)
                return time.monotonic()
        time.sleep(0.005)
    raise AssertionError(f"nothing ever worked in {node}")


def test_finished_work_is_found_done_and_what_was_removed_comes_back(done):
    before = study.digests(done.out)
    gone = done.out / "sub-02/func/sub-02_task-uneven_desc-preproc_bold.nii.gz"
    gone.unlink()
    # the very same call: with other settings, they alone would be a reason to save anew
    finished = again(done, done.out, "--write-graph", "--resource-monitor")
    assert finished.code == 0, finished.err
    assert steps(finished) == {"save"}
    # eight steps of four runs and the slices of one, all but that
    assert len(re.findall("was done before", finished.err)) == 32
    assert study.digests(done.out) == before


def test_files_that_may_not_grow(done, tmp_path):
    """As a quota would: the file that is too large is not there at all, its run has failed."""
    limit = ("prlimit", "--fsize=120000")
    finished = again(done, tmp_path / "out", "--task-id", "uneven", prefix=limit)
    assert finished.code == 1, finished.err
    assert "allowed" in finished.last and "save" in finished.last
    assert study.leftovers(tmp_path / "out") == []
    whole = study.digests(done.out, "sub-02/func")
    for path, digest in study.digests(tmp_path / "out", "sub-02/func").items():
        assert whole[path] == digest

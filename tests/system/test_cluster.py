"""On a real Slurm of one node: jobs that fail or are killed, and what a second call does."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.system import cluster, study

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

PROGRAM = (sys.executable, "-m", "unimo_bids.cli.slurm")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with cluster.running(tmp_path_factory.mktemp("slurm")) as configuration:
        yield configuration


def write_people(folder: Path) -> Path:
    study.describe(folder, ["01", "02", "03"])
    for number in (1, 2, 3):
        name = f"sub-0{number}"
        study.image(folder / name / "func" / f"{name}_task-rest_bold.nii.gz", study.frames(number))
    return folder


def told(out: Path) -> dict[str, str]:
    return {k: v for k, v in study.digests(out).items() if k.startswith(("sub-", "group"))}


def kill_program_of(label: str, seconds: float = 200) -> None:
    """Kill all processes of a participant's job, in the midst of its work."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if "--participant-label" not in words:
                continue
            if words[words.index("--participant-label") + 1] == label:
                family = [process, *process.children(recursive=True)]
                if any(_is_in_a_step(one) for one in family):
                    for one in family:
                        one.kill()
                    return
        time.sleep(0.05)
    raise AssertionError(f"no job has worked on sub-{label}")


def _is_in_a_step(process: psutil.Process) -> bool:
    # each takes a second or two, and looking at all processes may take as long
    try:
        return process.cwd().endswith(("/track", "/motion", "/resample", "/residual"))
    except psutil.Error:
        return False


def test_an_array_with_one_that_fails_and_one_that_is_killed(slurm, tmp_path):
    """What is there in the end is what one call without a cluster has made, byte by byte."""
    raw = write_people(tmp_path / "raw data")
    out, work = tmp_path / "out", tmp_path / "work"
    env = study.environment(SLURM_CONF=str(slurm))
    quick = ("--skip-bids-validation", "--brain-extraction", "epi")
    words = (raw, out, "participant", "--work-dir", work, "--submit", *quick)
    broken = raw / "sub-02/func/sub-02_task-rest_bold.nii.gz"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])

    first = study.call(*words, program=PROGRAM, env=env, nprocs=1)
    assert first.code == 0, first.err
    assert first.out.startswith("3 jobs for 3 runs; participants done before: 0. Each asks for 1 p")
    kill_program_of("03")
    cluster.wait_for_jobs(slurm)
    (folder,) = (work / "slurm").iterdir()
    logs = {path.name.split("_")[1][:5]: path.read_text() for path in (folder / "logs").iterdir()}
    assert str(out / "sub-01.html") in logs["1.txt"]
    assert "failed: sub-02 task-rest, prepare" in logs["2.txt"]
    assert not list(out.glob("sub-0[23]/func/*"))
    # the group level has waited, and says what is missing
    assert "no results of: sub-02_task-rest, sub-03_task-rest" in logs["group"]
    assert (out / "group_bold.tsv").read_text().count("\n") == 2

    broken.write_bytes(whole)
    second = study.call(*words, program=PROGRAM, env=env, nprocs=1)
    assert second.out.startswith("2 jobs for 2 runs; participants done before: 1."), second.err
    cluster.wait_for_jobs(slurm)
    third = study.call(*words, program=PROGRAM, env=env, nprocs=1)
    assert third.out.startswith("all participants are done"), third.err
    assert study.leftovers(out) == []

    apart = ("--work-dir", tmp_path / "apart", *quick)
    for level in ("participant", "group"):
        alone = study.ended(study.start(raw, tmp_path / "alone", level, *apart), 900)
        assert alone.code == 0, alone.err
    assert told(out) == told(tmp_path / "alone")


def test_steps_as_jobs(slurm, done, tmp_path):
    """The plugin, with a real queue: the same bytes as without."""
    plugin = tmp_path / "slurm.yml"
    plugin.write_text("plugin: SLURM\nplugin_args:\n  sbatch_args: --time=10\n")
    out = tmp_path / "out"
    finished = study.call(
        done.raw, out, "participant", *done.words, "--participant-label", "02",
        "--work-dir", tmp_path / "work", "--use-plugin", plugin,
        env=study.environment(SLURM_CONF=str(slurm)),
    )  # fmt: skip
    assert finished.code == 0, finished.err
    assert study.digests(out, "sub-02/") == study.digests(done.out, "sub-02/")
    jobs = list((tmp_path / "work").rglob("slurm-*.out"))
    assert len(jobs) == len(re.findall(r"\d+/\d+ done", finished.err)) > 0

import os
import shlex
import stat
import sys
import time

import psutil
import pytest

from tests.execution.test_multiproc import on_gpu
from tests.execution.workflows import SMALL, count_threads, fail, node, run_of, times, whole, work
from unimo_bids.execution import log, slurm
from unimo_bids.execution.plugins import PluginChoice
from unimo_bids.execution.runner import run_workflow

pytestmark = pytest.mark.timeout(60)

# Stand-ins that do what Slurm's do: jobs run apart from the caller, squeue lists those still alive.
SBATCH = """
    import pathlib, subprocess, sys
    state = pathlib.Path(__file__).parent / "state"
    number = len(list(state.glob("*.args"))) + 1
    (state / f"{number}.args").write_text("\\n".join(sys.argv[1:]))
    if "--mem=999424M" in sys.argv:
        sys.exit("sbatch: error: Memory specification can not be satisfied")
    output = sys.argv[sys.argv.index("-o") + 1].replace("%j", str(number))
    name = sys.argv[sys.argv.index("-J") + 1]
    run = ["bash", sys.argv[-1]]
    if "lost" in name or "stuck" in name:
        run = ["sleep", "0.5" if "lost" in name else "60"]
    with open(output, "w") as file:
        job = subprocess.Popen(run, stdout=file, stderr=file, start_new_session=True)
    (state / f"{number}.pid").write_text(str(job.pid))
    print("sbatch: some plugin says hello")
    print(f"Submitted batch job {number}")
"""
SQUEUE = """
    import os, pathlib, sys
    state = pathlib.Path(__file__).parent / "state"
    with (state / "asked").open("a") as file:
        print(*sys.argv[1:], file=file)
    if (state / "controller-down").exists():
        sys.exit("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    for path in state.glob("*.pid"):
        try:
            status = pathlib.Path("/proc", path.read_text(), "stat").read_text()
        except FileNotFoundError:
            continue
        if status.rsplit(")")[-1].split()[0] != "Z":
            print(path.stem)
"""
SCANCEL = """
    import os, pathlib, signal, sys
    state = pathlib.Path(__file__).parent / "state"
    for number in sys.argv[1:]:
        os.killpg(int((state / f"{number}.pid").read_text()), signal.SIGKILL)
"""
SCONTROL = """
    print("JobId=1 JobName=x\\n   JobState=OUT_OF_MEMORY Reason=OutOfMemory")
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A folder with Slurm's commands, at the front of PATH; returns where they note things."""
    import textwrap

    folder = tmp_path / "bin with spaces"
    (folder / "state").mkdir(parents=True)
    for name, text in (
        ("sbatch", SBATCH),
        ("squeue", SQUEUE),
        ("scancel", SCANCEL),
        ("scontrol", SCONTROL),
    ):
        path = folder / name
        path.write_text(f"#!{sys.executable}\n{textwrap.dedent(text)}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.delenv("LOGNAME", raising=False)
    monkeypatch.setattr(slurm, "_LIST_EVERY_S", 0.2)
    monkeypatch.setattr(slurm, "_BETWEEN_TRIES_S", 0.1)
    settings = log.nipype_settings
    monkeypatch.setattr(
        "unimo_bids.execution.runner.nipype_settings",
        lambda **given: settings(**given) | {"job_finished_timeout": "1"},
    )
    return folder / "state"


def run(tmp_path, *parts, args=None, **options):
    choice = PluginChoice("SLURM", args or {})
    workflow = whole(tmp_path / "work with spaces", *parts)
    return run_workflow(workflow, **SMALL, crash_dir=tmp_path / "crash", plugin=choice, **options)


def test_resources_become_options(tmp_path, notes, cluster):
    large = node(work, "large", notes, n_procs=4, mem_gb=2.5)
    gpu = on_gpu("gpu", notes)
    own = node(work, "own", notes)
    own.plugin_args = {"sbatch_args": "--time=9 --comment 'two words'"}
    parts = [run_of(str(k), "rest", each) for k, each in enumerate((large, gpu, own))]
    assert run(tmp_path, *parts, args={"sbatch_args": "-p long --time=5"}) == []
    asked = {}
    for path in cluster.glob("*.args"):
        options = path.read_text().splitlines()
        asked[options[options.index("-J") + 1].split(".")[-2]] = options[4:-1]
    assert asked["large"] == ["-c4", "--mem=2560M", "-p", "long", "--time=5"]
    assert "--gres=gpu:1" in asked["gpu"] and "--gres=gpu:1" not in asked["own"]
    # Slurm takes the last of two: so the user's word counts, and the node's more
    assert asked["own"][-3:] == ["--time=9", "--comment", "two words"]
    assert shlex.join(asked["own"]).index("--time=5") < shlex.join(asked["own"]).index("--time=9")


def test_a_job_has_the_threads_of_its_step(tmp_path, notes, cluster, monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "7")  # as a scheduler, or who submits it, may have set it
    parts = [
        run_of(str(count), "rest", node(count_threads, f"n{count}", notes, n_procs=count))
        for count in (1, 2)
    ]
    assert run(tmp_path, *parts) == []
    assert (notes / "n1").read_text() == "1 1 1"
    assert (notes / "n2").read_text().startswith("2 2 ")  # torch takes no more than there are


def test_lost_job_fails_its_node_only(tmp_path, notes, cluster):
    bad = run_of("01", "rest", node(work, "lost", notes, mem_gb=2), node(work, "behind", notes))
    good = run_of("02", "rest", node(work, "a", notes), node(work, "b", notes))
    begin = time.monotonic()
    (failure,) = run(tmp_path, bad, good)
    assert time.monotonic() - begin < 40
    assert failure.step == "lost"
    assert "ended without a result (OUT_OF_MEMORY)" in failure.reason
    assert "-c1 --mem=2048M" in failure.reason
    assert "Node: unimo_bids_wf.sub_01_wf.task_rest_wf.lost" in failure.crash_file.read_text()
    assert times(notes, "b.ended") and not times(notes, "behind.began")


def test_result_of_an_earlier_run_is_not_taken_for_this_one(tmp_path, notes, cluster):
    (left,) = [tmp_path / "work with spaces/unimo_bids_wf/sub_01_wf/task_rest_wf/lost"]
    left.mkdir(parents=True)
    (left / "result_lost.pklz").write_bytes(b"old")
    (failure,) = run(tmp_path, run_of("01", "rest", node(work, "lost", notes)))
    assert "ended without a result" in failure.reason


def test_job_that_is_not_accepted_fails_its_node_only(tmp_path, notes, cluster):
    bad = run_of("01", "rest", node(work, "huge", notes, mem_gb=976))
    good = run_of("02", "rest", node(work, "a", notes))
    (failure,) = run(tmp_path, bad, good)
    assert "sbatch failed: sbatch: error: Memory specification can not be" in failure.reason
    assert times(notes, "a.ended")


def test_controller_that_is_away_for_a_while(tmp_path, notes, cluster):
    import threading

    (cluster / "controller-down").touch()
    back = threading.Timer(4, (cluster / "controller-down").unlink)
    back.start()
    assert run(tmp_path, run_of("01", "rest", node(work, "a", notes))) == []
    back.join()


def test_queue_is_not_asked_too_often(tmp_path, notes, cluster, monkeypatch):
    monkeypatch.setattr(slurm, "_LIST_EVERY_S", 3.0)
    parts = [run_of(str(k), "rest", node(work, f"a{k}", notes)) for k in range(3)]
    begin = time.monotonic()
    assert run(tmp_path, *parts) == []
    questions = (cluster / "asked").read_text().splitlines()
    assert len(questions) <= (time.monotonic() - begin) / 3 + 1
    assert f"-u {os.getuid()}" in questions[0]


def test_jobs_are_cancelled_when_all_ends(tmp_path, notes, cluster):
    bad = run_of("01", "rest", node(fail, "validate", notes))
    slow = run_of("02", "rest", node(work, "stuck", notes))
    (failure,) = run(tmp_path, bad, slow, stop_on_first_crash=True)
    assert failure.step == "validate"
    end = time.monotonic() + 5
    for path in cluster.glob("*.pid"):
        while alive(int(path.read_text())):
            assert time.monotonic() < end
            time.sleep(0.05)


def alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE

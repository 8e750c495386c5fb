import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from nipype.interfaces.base import BaseInterface, BaseInterfaceInputSpec, TraitedSpec, traits
from nipype.pipeline import engine as pe

from tests.execution.workflows import SMALL, node, note, run_of, times, whole, work
from unimo_bids.execution.runner import run_workflow

pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).parents[2]


class GpuInputs(BaseInterfaceInputSpec):
    use_gpu = traits.Bool(True, usedefault=True)
    notes = traits.Str()
    word = traits.Str()


class GpuOutputs(TraitedSpec):
    out = traits.Str()


class OnGpu(BaseInterface):
    input_spec = GpuInputs
    output_spec = GpuOutputs

    def _run_interface(self, runtime):
        note(self.inputs.notes, f"{self.inputs.word}.began")
        note(self.inputs.notes, f"gpu.{os.environ.get('CUDA_VISIBLE_DEVICES', 'all')}")
        time.sleep(1)
        note(self.inputs.notes, f"{self.inputs.word}.ended")
        return runtime

    def _list_outputs(self):
        return {"out": "done"}


def on_gpu(name, notes):
    return pe.Node(OnGpu(notes=str(notes), word=name), name=name)


def overlap(notes, *names):
    """Whether all of some nodes were at work at the same moment."""
    last_began = max(times(notes, f"{name}.began")[0] for name in names)
    return last_began < min(times(notes, f"{name}.ended")[0] for name in names)


def run_two(tmp_path, notes, **options):
    pair = [run_of(name, "rest", node(work, name, notes, seconds=1, **options)) for name in "ab"]
    assert run_workflow(whole(tmp_path, *pair), **SMALL, crash_dir=tmp_path) == []


def test_small_nodes_work_together(tmp_path, notes):
    run_two(tmp_path, notes, mem_gb=1.5)
    assert overlap(notes, "a", "b")


@pytest.mark.parametrize("need", [{"mem_gb": 2.5}, {"mem_gb": 400, "n_procs": 16}])
def test_nodes_that_need_more_than_half_wait_for_each_other(tmp_path, notes, need):
    run_two(tmp_path, notes, **need)
    assert not overlap(notes, "a", "b")


def test_a_run_is_finished_before_the_next_begins(tmp_path, notes):
    names = [f"{run}{step}" for run in "ab" for step in (1, 2, 3)]
    steps = {name: node(work, name, notes) for name in names}
    runs = [run_of(run, "rest", *(steps[f"{run}{step}"] for step in (1, 2, 3))) for run in "ab"]
    one = {"nprocs": 1, "mem_gb": 4.0}
    assert run_workflow(whole(tmp_path, *runs), **one, crash_dir=tmp_path) == []
    order = sorted(names, key=lambda name: times(notes, f"{name}.began")[0])
    assert order in (names, names[3:] + names[:3])


@pytest.mark.parametrize("slots", [1, 2])
def test_gpu_slots(tmp_path, notes, monkeypatch, slots):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-one,GPU-two")
    pair = [run_of(name, "rest", on_gpu(name, notes)) for name in "ab"]
    assert run_workflow(whole(tmp_path, *pair), **SMALL, crash_dir=tmp_path, n_gpu=slots) == []
    assert overlap(notes, "a", "b") == (slots == 2)
    if slots == 2:  # and each has its own
        assert len(times(notes, "gpu.GPU-one")) == len(times(notes, "gpu.GPU-two")) == 1


def test_torch_in_a_node(tmp_path, notes):
    def solve(notes, word):
        import os
        from pathlib import Path

        import torch

        answer = torch.linalg.solve(torch.eye(300) * 2, torch.ones(300, 1)).sum().item()
        assert answer == 150
        found = f"{torch.get_num_threads()} {os.environ['OMP_NUM_THREADS']}"
        Path(f"{notes}/threads").write_text(found)

    import torch

    assert torch.ones(200, 200).mm(torch.ones(200, 200)).mean() == 200  # the parent has used it
    made = node(solve, "solve", notes, n_procs=2)
    workflow = whole(tmp_path, run_of("01", "rest", made))
    assert run_workflow(workflow, **SMALL, crash_dir=tmp_path) == []
    assert (notes / "threads").read_text() == "2 2"
    assert not torch.cuda.is_initialized()


def test_much_output_does_not_block_a_node(tmp_path, notes, capfd):
    def talk(notes, word):
        for k in range(20000):
            print(f"line {k} of many")

    assert (
        run_workflow(
            whole(tmp_path, run_of("01", "rest", node(talk, "talk", notes))),
            **SMALL,
            crash_dir=tmp_path,
        )
        == []
    )
    assert "of many" not in "".join(capfd.readouterr())  # it goes to the log, not to the terminal


SCRIPT = """
    import signal
    import sys
    from tests.execution.workflows import SMALL, node, run_of, whole, work
    from unimo_bids.execution.runner import run_workflow

    if __name__ == "__main__":
        # a shell's background jobs are deaf to Ctrl-C, and hand that down
        signal.signal(signal.SIGINT, signal.default_int_handler)
        base, notes, seconds = sys.argv[1:]
        nodes = [node(work, "first", notes), node(work, "second", notes, seconds=float(seconds)),
                 node(work, "third", notes)]
        workflow = whole(base, run_of("01", "rest", *nodes))
        failures = run_workflow(workflow, **SMALL, crash_dir=base)
        sys.exit(len(failures))
"""


@pytest.fixture
def start(tmp_path, notes):
    """Start the three nodes in a program of their own; the second waits so many seconds."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))

    def start(seconds):
        command = [sys.executable, str(script), str(tmp_path / "work"), str(notes), str(seconds)]
        return subprocess.Popen(
            command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL
        )

    return start


def wait_for(notes, word):
    end = time.monotonic() + 30
    while not times(notes, word):
        assert time.monotonic() < end, f"{word} never came"
        time.sleep(0.05)
    return int((notes / word).read_text().split()[0])


@pytest.mark.parametrize(
    "how",
    [
        signal.SIGKILL,
        *(pytest.param(one, marks=pytest.mark.slow) for one in (signal.SIGTERM, signal.SIGINT)),
    ],
)
def test_nodes_end_with_their_program_and_it_goes_on_where_it_stopped(notes, start, how):
    program = start(50)
    worker = wait_for(notes, "second.began")
    program.send_signal(how)
    assert program.wait(20) != 0
    end = time.monotonic() + 5
    while psutil.pid_exists(worker) and psutil.Process(worker).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end, "the node outlives its program"
        time.sleep(0.05)
    assert not times(notes, "second.ended")
    assert start(0).wait(40) == 0
    assert len(times(notes, "first.began")) == 1  # was done before
    assert len(times(notes, "second.began")) == 2
    assert len(times(notes, "third.ended")) == 1


def test_something_runs_whatever_little_there_is(tmp_path, notes):
    """nipype waits for ever for resources if less than 0.01 GB is free."""
    workflow = whole(tmp_path, run_of("01", "rest", node(work, "a", notes)))
    assert run_workflow(workflow, nprocs=1, mem_gb=0.001, crash_dir=tmp_path) == []


def test_what_was_done_before_is_passed_over_at_once(tmp_path, notes):
    def run():
        steps = (node(work, f"step{k}", notes) for k in range(10))
        workflow = whole(tmp_path / "work", run_of("01", "rest", *steps))
        return run_workflow(workflow, **SMALL, crash_dir=tmp_path)

    assert run() == []
    begin = time.monotonic()
    assert run() == []
    # nipype looks every 0.2 s, and would look at one node at a time
    assert time.monotonic() - begin < 1
    assert len(times(notes, "step9.ended")) == 1

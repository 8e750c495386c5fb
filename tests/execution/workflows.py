"""Tiny workflows whose nodes do what real ones do when things go wrong."""

import itertools
import os
import time
from pathlib import Path

from nipype.interfaces.utility import Function
from nipype.pipeline import engine as pe

SMALL = {"nprocs": 2, "mem_gb": 4.0}


def note(folder, word):
    """One line per call: nodes may write at the same time."""
    with Path(folder, word).open("a") as file:
        file.write(f"{os.getpid()} {time.time()}\n")


def work(notes, word, seconds=0.0, after=None):
    import time

    from tests.execution.workflows import note

    note(notes, f"{word}.began")
    time.sleep(seconds)
    note(notes, f"{word}.ended")
    return word


def die(notes, word, how="SIGKILL", after=None):
    import os
    import signal

    from tests.execution.workflows import note

    note(notes, f"{word}.began")
    print("last words", flush=True)
    if how == "exit":
        os._exit(3)
    os.kill(os.getpid(), getattr(signal, how))


def fail(notes, word, after=None):
    from unimo_bids.errors import InputError

    raise InputError("bold.nii.gz", f"{word} has [no] volumes", "give it some")


def count_threads(notes, word, after=None):
    import os
    from pathlib import Path

    import torch

    told = [os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")]
    Path(notes, word).write_text(" ".join([*told, str(torch.get_num_threads())]))


def node(function, name, notes, *, n_procs=1, mem_gb=0.1, **inputs):
    made = pe.Node(Function(function=function), name=name, n_procs=n_procs, mem_gb=mem_gb)
    made.inputs.notes = str(notes)
    made.inputs.word = name
    for key, value in inputs.items():
        setattr(made.inputs, key, value)
    return made


def chain(workflow, *nodes):
    workflow.add_nodes(list(nodes))
    for first, second in itertools.pairwise(nodes):
        workflow.connect(first, "out", second, "after")


def run_of(label, task, *nodes):
    """The workflow of one run, named as the app names it."""
    participant = pe.Workflow(name=f"sub_{label}_wf")
    run = pe.Workflow(name=f"task_{task}_wf")
    chain(run, *nodes)
    participant.add_nodes([run])
    return participant


def whole(base_dir, *parts):
    workflow = pe.Workflow(name="unimo_bids_wf", base_dir=str(base_dir))
    workflow.add_nodes(list(parts))
    return workflow


def times(notes, word):
    """When a node did something, seconds since the epoch; empty if never."""
    path = Path(notes) / word
    return (
        [float(line.split()[1]) for line in path.read_text().splitlines()] if path.exists() else []
    )

import os
from pathlib import Path

import pytest

from unimo_bids.errors import MachineError
from unimo_bids.execution import resources as module
from unimo_bids.execution.resources import resources
from unimo_bids.settings import Settings


def asked(**options):
    return Settings(Path("/data"), Path("/out"), **options)


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(module, "_has_gpu", lambda: True)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(module, "_has_gpu", lambda: False)


def test_what_is_not_given_is_what_the_machine_has(no_gpu):
    found = resources(asked())
    assert found.nprocs == len(os.sched_getaffinity(0))
    assert found.omp_nthreads == 1  # results do not depend on the machine
    assert 0 < found.mem_gb < 1e5
    assert found.n_gpu == 0


def test_what_is_given_counts(no_gpu):
    found = resources(asked(nprocs=8, omp_nthreads=2, mem_gb=3.5))
    assert (found.nprocs, found.omp_nthreads, found.mem_gb) == (8, 2, 3.5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, 1), ({"gpus": 3}, 3), ({"device": "cuda:1"}, 1), ({"device": "cpu"}, 0)],
)
def test_slots_of_gpus(gpu, options, expected):
    assert resources(asked(**options)).n_gpu == expected


def test_a_gpu_that_is_not_there_is_refused_at_once(no_gpu):
    with pytest.raises(MachineError, match="--device cuda: there is no CUDA device here"):
        resources(asked(device="cuda"))


def test_memory_is_nine_tenths_of_what_a_limit_leaves(no_gpu, monkeypatch):
    monkeypatch.setattr(module, "available_gb", lambda: 4.0)
    assert resources(asked()).mem_gb == pytest.approx(3.6)
    assert resources(asked(mem_gb=16.0)).mem_gb == 16


def test_steps_run_alone_where_memory_is_low(no_gpu):
    assert resources(asked(low_mem=True, nprocs=8)).mem_gb < 0.5

from __future__ import annotations

from types import SimpleNamespace

import pytest

from unimo_bids.execution import memory

MIB = 2**20


def limits(root, groups, files):
    """Limits that are found where the control groups are like this."""
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return sorted(memory._of_control_groups(root))


def test_groups_of_version_2_and_those_around_them(tmp_path):
    slice_ = "sys/fs/cgroup/system.slice"
    files = {
        f"{slice_}/memory.max": f"{800 * MIB}\n",
        f"{slice_}/job_7/memory.max": "max\n",
        f"{slice_}/job_7/step_0/memory.max": f"{500 * MIB}\n",
        "sys/fs/cgroup/memory.max": f"{900 * MIB}\n",
        "sys/fs/memory.max": "1\n",  # not in the tree
    }
    found = limits(tmp_path, "0::/system.slice/job_7/step_0\n", files)
    assert found == [500 * MIB, 800 * MIB, 900 * MIB]


def test_a_container_is_at_the_top_of_what_it_sees(tmp_path):
    assert limits(tmp_path, "0::/\n", {"sys/fs/cgroup/memory.max": f"{MIB}\n"}) == [MIB]
    # of version 1, where the path is that of the host
    (tmp_path / "b").mkdir()
    top = "sys/fs/cgroup/memory/memory.limit_in_bytes"
    found = limits(tmp_path / "b", "4:cpu:/x\n3:memory:/docker/1f\n", {top: f"{2 * MIB}\n"})
    assert found == [2 * MIB]


def test_without_groups_there_is_no_limit(tmp_path):
    assert list(memory._of_control_groups(tmp_path)) == []
    assert limits(tmp_path, "0::/x\n", {"sys/fs/cgroup/memory.max": "max\n"}) == []


@pytest.mark.parametrize(
    ("environment", "megabytes"),
    [
        ({}, []),
        ({"SLURM_MEM_PER_NODE": "16000"}, [16000]),
        ({"SLURM_MEM_PER_NODE": "0"}, []),
        ({"SLURM_MEM_PER_CPU": "2000", "SLURM_CPUS_ON_NODE": "4"}, [8000]),
        ({"SLURM_MEM_PER_CPU": "2000"}, []),
        ({"SLURM_MEM_PER_NODE": "much"}, []),
    ],
)
def test_limits_of_a_slurm_job(environment, megabytes):
    assert list(memory._of_slurm(environment)) == [each * MIB for each in megabytes]


def test_the_least_counts(monkeypatch):
    monkeypatch.setattr(memory, "_of_control_groups", lambda _root: [2**63 - 4096])
    total = SimpleNamespace(total=64 * 2**30)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: total)
    monkeypatch.delenv("SLURM_MEM_PER_CPU", raising=False)
    monkeypatch.delenv("SLURM_MEM_PER_NODE", raising=False)
    assert memory.available_gb() == 64
    monkeypatch.setenv("SLURM_MEM_PER_NODE", str(3 * 1024))
    assert memory.available_gb() == 3

"""How much memory this process may use: a machine's, a container's or a job's."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil


def available_gb() -> float:
    """GiB that all steps may use: the least of what the machine has and what limits say."""
    limits = [*_of_control_groups(Path("/")), *_of_slurm(os.environ)]
    return min([psutil.virtual_memory().total, *limits]) / 2**30


def _of_control_groups(root: Path) -> Iterator[int]:
    """Limits in bytes of the control groups that this process is in, and of those around them.

    A container sees its own group at the top of the tree, whatever it is called outside.
    """
    tree = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, path = line.split(":", 2)
        if number == "0":  # version 2
            name, tops = "memory.max", [tree, tree / "unified"]
        elif "memory" in controllers.split(","):
            name, tops = "memory.limit_in_bytes", [tree / "memory"]
        else:
            continue
        for top in tops:
            group = top / path.lstrip("/")
            folders = [one for one in (group, *group.parents) if one.is_relative_to(top)]
            lines = (line for folder in folders for line in _lines(folder / name))
            yield from (int(line) for line in lines if line.isdecimal())


def _of_slurm(environment: Mapping[str, str]) -> Iterator[int]:
    """Limits in bytes of a Slurm job on this node: not all clusters enforce them by groups."""
    for name, factor in (
        ("SLURM_MEM_PER_NODE", "1"),
        ("SLURM_MEM_PER_CPU", environment.get("SLURM_CPUS_ON_NODE", "")),
    ):
        megabytes = environment.get(name, "")
        # 0 asks for all that the node has
        if megabytes.isdecimal() and factor.isdecimal() and int(megabytes) > 0:
            yield int(megabytes) * int(factor) * 2**20


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []

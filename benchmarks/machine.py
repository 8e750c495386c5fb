"""On what a benchmark ran: enough to judge whether two timings may be compared."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.series import ROOT


def circumstances(command: str, threads: int) -> dict[str, Any]:
    """When, on what, and by which command something is measured."""
    return {
        "threads": threads,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "machine": machine(),
        "versions": versions(),
    }


def machine() -> dict[str, str | int | float]:
    """Processor, cores, memory, system, and how busy it is now."""
    found: dict[str, str | int | float] = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        "memory_gib": round(_memory_gib(), 1),
        "system": platform.platform(terse=True),
    }
    if hasattr(os, "getloadavg"):
        found["load"] = round(os.getloadavg()[0], 2)
    return found


def described(on: dict[str, Any]) -> str:
    """Say in words what `machine` found."""
    return f"{on['processor']}, {on['cores']} cores, {on['memory_gib']} GiB"


def versions() -> dict[str, str]:
    """Python, the libraries that matter, and this project's commit."""
    found = {"python": platform.python_version(), "commit": _commit()}
    for package in ("unimo-bids", "numpy", "scipy", "torch"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gib() -> float:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError, AttributeError):
        return float("nan")


def _commit() -> str:
    """Short commit, with ``+`` where the working tree differs; empty without git."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()

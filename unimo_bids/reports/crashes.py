"""What went wrong: crash files, as Nipype writes them, made readable."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

# The end of a traceback says most; a node's inputs may be pages long.
_LONGEST = 40_000


@dataclass(frozen=True)
class CrashReport:
    """A failure.

    Attributes
    ----------
    message
        Last line of the traceback.
    traceback
        Everything after the head of the file.
    run
        Entities of the run it belongs to, if that is known.
    """

    path: Path
    node: str
    message: str
    traceback: str
    run: str | None = None


def read_crash(path: Path) -> CrashReport:
    """Read a crash file; one that is damaged is shown as far as it goes.

    The head has lines such as ``Node: workflow.node`` and ``Run: sub-01_task-rest``; the rest,
    from ``Traceback`` on, is shown as it is.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        text = f"{path.name} cannot be read: {error.strerror}"
    head, mark, tail = text.partition("Traceback (most recent call last)")
    traceback = (mark + tail).strip() or text.strip()
    if len(traceback) > _LONGEST:
        traceback = f"[…]\n{traceback[-_LONGEST:]}"
    lines = [line for line in traceback.splitlines() if line.strip()]
    return CrashReport(
        path=path,
        node=_field(head, "Node") or path.stem,
        message=_last_error(lines),
        traceback=traceback,
        run=_field(head, "Run"),
    )


def _field(head: str, name: str) -> str | None:
    match = re.search(rf"^{name}:[ \t]*(\S.*)$", head, re.MULTILINE)
    return match[1].strip() if match else None


def _last_error(lines: Sequence[str]) -> str:
    """Find the line that says what went wrong: the last that names an error.

    Nipype indents the traceback of a node within its own.
    """
    for line in reversed(lines):
        if re.match(r"\s*[\w.]+(Error|Exception|Interrupt|Exit)(:|$)", line):
            # a refusal of ours is a sentence that needs no class
            return re.sub(r"^unimo_bids\.errors\.\w+: ", "", line.strip())
    return lines[-1].strip() if lines else "no message"


def by_run(crashes: Iterable[CrashReport], runs: Iterable[str]) -> dict[str, list[CrashReport]]:
    """Tell which of the runs each crash belongs to: as it says itself, or by its node's name.

    Workflows are called after their run, ``…ses_1_task_rest_run_1_wf.node``.
    """
    keys = {run: re.sub(r"[^A-Za-z0-9]+", "_", run.partition("_")[2]) for run in runs}
    found: dict[str, list[CrashReport]] = {run: [] for run in keys}
    for crash in crashes:
        named = [
            run
            for run, key in keys.items()
            if key and re.search(rf"(?<![A-Za-z0-9]){re.escape(key)}(?![A-Za-z0-9])", crash.node)
        ]
        # task_rest also occurs in task_rest_run_1
        run = crash.run if crash.run in found else max(named, key=len, default=None)
        if run is not None:
            found[run].append(crash)
    return found

"""What went wrong: crash files, as Nipype writes them, made readable."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unimo_bids.execution.naming import run_and_step

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
    """

    path: Path
    node: str
    message: str
    traceback: str

    @property
    def run(self) -> str:
        """The run that the node worked on, ``sub-01_task-rest``; empty if it was for none."""
        return run_and_step(self.node)[0].replace(" ", "_")


def read_crash(path: Path) -> CrashReport:
    """Read a crash file; of a damaged one, as much as can be read.

    The head begins with ``Node: workflow.node``; from ``Traceback`` on, all is shown as it is.
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
    node = re.search(r"^Node:[ \t]*(\S.*)$", head, re.MULTILINE)
    name = node[1].strip() if node else path.stem
    return CrashReport(path, name, _last_error(lines), traceback)


def _last_error(lines: Sequence[str]) -> str:
    """Find the last line that names an error.

    Nipype indents the traceback of a node within its own.
    """
    for line in reversed(lines):
        if re.match(r"\s*[\w.]+(Error|Exception|Interrupt|Exit)(:|$)", line):
            # a refusal of ours is a sentence that needs no class
            return re.sub(r"^unimo_bids\.errors\.\w+: ", "", line.strip())
    return lines[-1].strip() if lines else "no message"

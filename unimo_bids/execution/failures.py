"""What went wrong in a workflow: one record for each node that failed."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimo_bids.errors import UnimoError
from unimo_bids.execution.naming import participant, run_and_step
from unimo_bids.files.staging import machine_error

_LOG = logging.getLogger(__name__)

# a node's own refusals are sentences already; the class they were raised with says nothing to users
_OWN = re.compile(rf"^{re.escape(UnimoError.__module__)}\.\w+: ")
# what Python says of a full disk, a missing permission, …
_SYSTEM = re.compile(r"\w*Error: \[Errno (\d+)\] (.+?)(?:: '(.+)')?$")
_SOURCE_LINE = re.compile(r'^\s*File "')


@dataclass(frozen=True)
class Failure:
    """A node that failed. Nodes that only waited for it are not listed."""

    node: str
    """Its full name."""
    run: str
    """What it worked on, as ``sub-01 ses-1 task-rest``; empty for a node above all runs."""
    step: str
    """What it did there."""
    reason: str
    """One line."""
    crash_file: Path | None
    """Traceback and inputs; None if this file could not be written either."""


def reason(text: str) -> str:
    r"""Find the line of a traceback that says what is wrong.

    Nipype puts a node's traceback, indented, into the message of another exception: so it is the
    line after the innermost place in the source.

    >>> reason('Traceback …\n  File "a.py", line 3, in f\n    g()\nValueError: no mask\nat all')
    'ValueError: no mask'
    >>> reason("OSError: [Errno 28] No space left on device: 'a.npz'")
    'a.npz: the disk or your quota on it is full; free some space or write somewhere else.'
    >>> reason("The process was killed.\nIt had printed: …")
    'The process was killed.'
    """
    lines = text.splitlines()
    places = [index for index, line in enumerate(lines) if _SOURCE_LINE.match(line)]
    start = 0
    if places:
        start = places[-1] + 1
        # source and markers below a place are indented deeper than the word File
        depth = _indent(lines[places[-1]])
        while start < len(lines) and _indent(lines[start]) > depth:
            start += 1
    said = next((line.strip() for line in lines[start:] if line.strip()), "no reason was given")
    if system := _SYSTEM.match(said):
        error = OSError(int(system[1]), system[2])
        return str(machine_error(system[3] or "a file of the work folder", error))
    if said.startswith("MemoryError"):
        return f"there is not enough memory ({said}); give --mem, or fewer --nprocs"
    return _OWN.sub("", said)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


class RecordsFailures:
    """Mixed into a plugin of Nipype: failures are recorded, and end no other node.

    Attributes
    ----------
    failures
        One for each node that failed, in that order.
    crash_dir
        Where crash files go: one folder, or one for each participant (``{"sub-01": …}``, with
        ``""`` for nodes above them). None leaves it to nipype.
    on_start
        Called with the graph of nodes before the first of them starts.
    completed
        Whether all nodes were run, left out or failed; False if the run ended before.
    """

    failures: Sequence[Failure] = ()
    crash_dir: Path | Mapping[str, Path] | None = None
    on_start: Callable[[Any], None] | None = None
    completed = False

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run all nodes; the public entry of a plugin."""
        self.failures = self._failures = list[Failure]()
        if self.on_start is not None:
            self.on_start(graph)
        self.completed = False
        super().run(graph, config=config, updatehash=updatehash)  # type: ignore[misc]

    def _postrun_check(self) -> None:
        self.completed = True
        super()._postrun_check()  # type: ignore[misc]

    def _report_crash(self, node: Any, result: Mapping[str, Any] | None = None) -> str:
        """Record a failure and write its crash file.

        nipype appends a list to the traceback where the node has left no result; but on some ways
        here the traceback is a string, and its TypeError ends the whole run (nipype#3372). A full
        disk ends it too, as the crash file cannot be written.
        """
        said = (result or {}).get("traceback") or traceback.format_exc()
        lines = (said if isinstance(said, str) else "".join(said)).splitlines(keepends=True)
        folder = self._crash_folder(node.fullname)
        if folder is not None:
            node.config["execution"]["crashdump_dir"] = str(folder)
        crash_file = None
        try:
            report = {"result": None, "traceback": list(lines)}
            crash_file = super()._report_crash(node, result=report)  # type: ignore[misc]
        except Exception as error:
            _LOG.error("The crash file of %s could not be written: %s", node.fullname, error)
        path = None if crash_file is None else Path(crash_file)
        why = reason("".join(lines))
        self._failures.append(Failure(node.fullname, *run_and_step(node.fullname), why, path))
        return str(crash_file)

    def _crash_folder(self, fullname: str) -> Path | None:
        if isinstance(self.crash_dir, Mapping):
            return self.crash_dir.get(participant(fullname)) or self.crash_dir.get("")
        return self.crash_dir

    def _local_hash_check(self, jobid: int, graph: Any) -> bool:
        """Look for a finished result; a node whose inputs cannot even be read has failed.

        nipype only warns, then meets the same exception again where nothing catches it, and the
        run ends with all its other branches.
        """
        if super()._local_hash_check(jobid, graph):  # type: ignore[misc]
            return True
        try:
            self.procs[jobid].is_cached()  # type: ignore[attr-defined]
        except Exception:
            said = traceback.format_exc()
            self._run_errors.append(said)  # type: ignore[attr-defined]
            self._clean_queue(jobid, graph, result={"result": None, "traceback": said})  # type: ignore[attr-defined]
            return True
        return False

"""Inside the process of a node: what it needs from its parent, and what it tells it."""

from __future__ import annotations

import logging
import logging.handlers
import multiprocessing
import multiprocessing.connection
import os
import resource
import signal
import sys
import threading
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from unimo_bids.execution.log import route_nipype
from unimo_bids.execution.threads import use_threads


@dataclass(frozen=True)
class Surroundings:
    """Settings that a fresh process has to be given."""

    folder: str
    log_level: int
    gpu: str | None
    """The GPU it shall see, as CUDA_VISIBLE_DEVICES names it; None for those its parent sees."""


@dataclass(frozen=True)
class Answer:
    """Result of a node."""

    traceback: str | None
    """None if it ended well."""
    peak_gb: float = 0.0
    """The most memory its process held."""


def work(
    node: Any, updatehash: bool, surroundings: Surroundings, answers: Connection, stdout: Connection
) -> None:
    """Run a node; log records and then one Answer go to its parent.

    Parameters
    ----------
    answers
        Where records and the answer go.
    stdout
        Takes the place of stdout and stderr, of compiled code too: they would tear the display.
    """
    _end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its nodes
    for descriptor in (1, 2):
        os.dup2(stdout.fileno(), descriptor)
    os.chdir(surroundings.folder)
    if surroundings.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = surroundings.gpu
    use_threads(node.n_procs)
    sender = _ToParent(answers, node.fullname)
    logging.getLogger().handlers[:] = [sender]
    route_nipype(surroundings.log_level)
    failed = None
    try:
        node.run(updatehash=updatehash)
    except BaseException:  # a sys.exit() in a node is a failure too
        failed = traceback.format_exc()
    logging.getLogger().handlers.clear()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers.send(Answer(failed, kilobytes / 1024**2))


class _ToParent(logging.handlers.QueueHandler):
    """Sends log records to the parent, with the node's name."""

    def __init__(self, connection: Connection, node: str) -> None:
        super().__init__(connection)  # type: ignore[arg-type]  # anything, as enqueue is ours
        self._node = node

    def enqueue(self, record: logging.LogRecord) -> None:
        record.node = self._node
        self.queue.send(record)  # type: ignore[attr-defined]


def _end_with_parent() -> None:
    """Die when the parent does, however it dies.

    A node that outlives a killed run would still write into its folder when the run is started
    again, and works there too.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        multiprocessing.connection.wait([sentinel])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()

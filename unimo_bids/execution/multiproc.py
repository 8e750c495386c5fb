"""Nodes on this machine, each in a process of its own, so that one that is killed only fails.

nipype's MultiProc has a pool of processes. When the kernel kills one of them because the memory is
full, the pool breaks: the results of all its nodes never come, and the run waits for them for ever.
It also waits for ever for a node that cannot be pickled, or that fails before it has a folder.
With one process for each node there is no pool to break: it is known which node died and of what,
its siblings go on undisturbed, and its memory is given back when it ends.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import multiprocessing
import os
import signal
import socket
import time
import traceback
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import networkx
import psutil
from nipype.pipeline.plugins.multiproc import MultiProcPlugin

from unimo_bids.execution.failures import RecordsFailures
from unimo_bids.execution.worker import Answer, Surroundings, work

_LOG = logging.getLogger(__name__)

# imported once, before the processes fork off: torch and nipype take seconds
_PRELOAD = ("nipype.pipeline.engine", "unimo_bids.motion.estimation", "matplotlib.figure")
_GB = 1024**3
# a node that is done has nothing left to do; one that lingers is stuck in a library's clean-up
_LEAVE_WITHIN_S = 5.0
_KEEP_PRINTED = 4000  # characters: a screen, to go with a crash


@dataclass(frozen=True)
class Usage:
    """What a node took of the machine, beside what it had asked for."""

    node: str
    seconds: float
    peak_gb: float
    mem_gb: float
    n_procs: int


@dataclass
class _Task:
    """A node at work."""

    node: Any
    process: Any
    answers: Connection
    """Log records, and at the end an Answer."""
    printed: Connection
    """What it writes to stdout and stderr."""
    gpu: str | None
    started: float = field(default_factory=time.monotonic)
    peak_gb: float = 0.0
    last_printed: str = ""
    answer: Answer | None = None


class RobustMultiProcPlugin(RecordsFailures, MultiProcPlugin):  # type: ignore[misc]
    """MultiProc of nipype, with a process for each node instead of a pool.

    Beyond nipype's arguments (``n_procs``, ``memory_gb``, ``n_gpu_procs``, ``scheduler``,
    ``mp_context``: here ``forkserver`` unless told otherwise) it knows ``preload``, the modules to
    import before processes are forked. A node that asks for more memory or threads than there are
    gets all there are. A GPU node should ask for one thread: nipype takes as many GPU slots as it
    has threads.
    """

    usage: list[Usage]

    def __init__(self, plugin_args: dict[str, Any] | None = None) -> None:
        # never fork: a copy of torch's threads deadlocks, and CUDA cannot be used in a fork.
        # raise_insufficient: nipype would refuse the workflow for one node that asks for too much,
        # and any GPU node where there is no nvidia-smi
        args: dict[str, Any] = {"mp_context": "forkserver", "raise_insufficient": False}
        args |= plugin_args or {}
        if "memory_gb" in args:
            args["memory_gb"] = max(args["memory_gb"], 0.1)  # with less, nipype waits for ever
        super().__init__(plugin_args=args)
        self.pool.shutdown()  # it has not started a process yet
        self._context: Any = multiprocessing.get_context(args["mp_context"])
        if args["mp_context"] == "forkserver":
            self._context.set_forkserver_preload(list(args.get("preload", _PRELOAD)))
        self._tasks: dict[int, _Task] = {}
        self.usage = []

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run all nodes; whatever ends it, no process is left behind."""
        self.usage.clear()
        gc.freeze()  # nipype collects at every look, which takes longer than all the rest of it
        try:
            super().run(graph, config=config, updatehash=updatehash)
        finally:
            gc.unfreeze()
            for task in self._tasks.values():
                if task.process.is_alive():
                    task.process.kill()
            for taskid in list(self._tasks):
                self._clear_task(taskid)

    def _generate_dependency_list(self, graph: Any) -> None:
        super()._generate_dependency_list(graph)
        self._steps_before = {
            jobid: len(networkx.ancestors(graph, node)) for jobid, node in enumerate(self.procs)
        }

    def _sort_jobs(self, jobids: Any, scheduler: str | None = None) -> Any:
        """Prefer what is furthest along: so runs are finished one by one, not all at the end."""
        if scheduler is not None:
            return super()._sort_jobs(jobids, scheduler=scheduler)
        # parts of a MapNode, which are not in the graph, first of all
        return sorted(jobids, key=lambda job: -self._steps_before.get(job, math.inf))

    def _send_procs_to_workers(self, updatehash: bool = False, graph: Any = None) -> None:
        """Start what can be; nipype would sleep before it looks behind a node that is done."""
        over = -1
        while over != (over := int((self.proc_done & ~self.proc_pending).sum())):
            super()._send_procs_to_workers(updatehash=updatehash, graph=graph)

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        """Start the node's process; instead of handing it to the pool.

        What goes wrong here (a node that cannot be pickled, no more processes allowed) is a
        failure of this node; nipype's pool keeps it to itself, and the run waits.
        """
        self._taskid += 1
        answers, send = self._context.Pipe(duplex=False)
        printed, stdout = self._context.Pipe(duplex=False)
        os.set_blocking(printed.fileno(), False)
        gpu = self._idlest_gpu(node)
        level = logging.getLogger("nipype.workflow").getEffectiveLevel()
        surroundings = Surroundings(self._cwd, level, gpu)
        process = self._context.Process(
            target=work, args=(node, updatehash, surroundings, send, stdout)
        )
        task = self._tasks[self._taskid] = _Task(node, process, answers, printed, gpu)
        try:
            process.start()
        except Exception:
            task.answer = Answer(traceback.format_exc())
        finally:
            # only the node's own ends stay open: so its end is seen
            send.close()
            stdout.close()
        return int(self._taskid)

    def _get_result(self, taskid: int) -> dict[str, Any] | None:
        """Look whether a node has ended, and how; instead of the pool's callback."""
        task = self._tasks[taskid]
        if task.answer is None:
            alive = task.process.is_alive()  # asked before the last look into the pipes
            _listen(task)
            if task.answer is None and alive:
                return None
            task.answer = task.answer or Answer(_obituary(task))
        self._note_usage(task, task.answer)
        return {
            "result": None,  # whoever needs it reads the node's result file
            "traceback": task.answer.traceback,
            "taskid": taskid,
            "hostname": socket.gethostname(),
        }

    def _clear_task(self, taskid: int) -> None:
        """Forget a node that has ended, once its process is gone and its memory is free."""
        task = self._tasks.pop(taskid)
        if task.process.pid is not None:
            task.process.join(_LEAVE_WITHIN_S)
            if task.process.is_alive():
                task.process.kill()
                task.process.join()
        task.answers.close()
        task.printed.close()

    def _idlest_gpu(self, node: Any) -> str | None:
        """Which GPU a node shall see; None leaves it as it is, which is right for one GPU."""
        if self.n_gpu_procs < 2 or not node.is_gpu_node():
            return None
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        gpus = visible.split(",") if visible else [str(k) for k in range(self.n_gpus_visible)]
        taken = [task.gpu for task in self._tasks.values()]
        return min(gpus, key=taken.count, default=None)

    def _note_usage(self, task: _Task, answer: Answer) -> None:
        seconds = time.monotonic() - task.started
        peak_gb = max(task.peak_gb, answer.peak_gb)
        node = task.node
        self.usage.append(Usage(node.fullname, seconds, peak_gb, node.mem_gb, node.n_procs))


def _listen(task: _Task) -> None:
    """Take what a node has sent and printed since the last look, and see how large it is."""
    with contextlib.suppress(EOFError, OSError):  # it died in the middle of a message
        while task.answer is None and task.answers.poll():
            message = task.answers.recv()
            if isinstance(message, Answer):
                task.answer = message
            else:
                logging.getLogger(message.name).handle(message)
    with contextlib.suppress(BlockingIOError):
        while data := os.read(task.printed.fileno(), 65536):
            text = data.decode(errors="replace")
            _LOG.info("%s", text.rstrip(), extra={"node": task.node.fullname})
            task.last_printed = (task.last_printed + text)[-_KEEP_PRINTED:]
    with contextlib.suppress(psutil.Error):
        rss = psutil.Process(task.process.pid).memory_info().rss
        task.peak_gb = max(task.peak_gb, rss / _GB)


def _obituary(task: _Task) -> str:
    """Say in plain words how a process ended that has left no result."""
    code = task.process.exitcode
    if code == -signal.SIGKILL:
        how = (
            f"was killed (SIGKILL), probably out of memory: it asked for {task.node.mem_gb:.3g} GB "
            f"and was last seen using {task.peak_gb:.3g} GB; run fewer nodes at a time "
            "(--nprocs, --mem) or use a machine with more memory"
        )
    elif code == -signal.SIGTERM:
        how = "was ended from outside (SIGTERM), by hand or by a time limit"
    elif code is not None and code < 0:
        how = f"crashed in compiled code ({signal.Signals(-code).name})"
    else:
        how = f"ended by itself (exit code {code}) before it had a result"
    said = f"The process of this node {how}."
    if task.last_printed:
        # quoted, so that a stack printed by a dying process is not taken for the reason
        quoted = "\n".join(f"| {line}" for line in task.last_printed.splitlines())
        said = f"{said}\nThe last it printed:\n{quoted}"
    return said + "\n"

"""Nodes as jobs of a Slurm cluster."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import shlex
import subprocess
import time
import traceback
from pathlib import Path
from typing import Any

from nipype.pipeline.plugins.slurm import SLURMPlugin

from unimo_bids.execution.failures import RecordsFailures
from unimo_bids.execution.log import user_name
from unimo_bids.execution.threads import set_in_script

_LOG = logging.getLogger(__name__)

_TRIES = 3
_BETWEEN_TRIES_S = 2.0
_LIST_EVERY_S = 5.0
# a controller that is restarted is back after minutes; one that is gone must not be waited for
_PATIENCE_S = 600.0


class RobustSlurmPlugin(RecordsFailures, SLURMPlugin):  # type: ignore[misc]
    """Nipype's SLURM plugin, in which a failed job is only a failure of its node.

    Threads, memory and GPU of a node become ``-c``, ``--mem`` and ``--gres``. Options from
    ``plugin_args["sbatch_args"]``, then those of the node's own, come after and so have the last
    word. ``sbatch``, ``squeue`` and ``scancel`` are called without a shell: paths may hold spaces.
    """

    def __init__(self, plugin_args: dict[str, Any] | None = None) -> None:
        super().__init__(plugin_args=plugin_args or {})
        self._refused: dict[int, str] = {}
        self._asked: dict[int, str] = {}
        self._submitted_at: dict[int, float] = {}
        self._gone_since: dict[int, float] = {}
        self._listed: set[str] = set()
        self._listed_at = time.monotonic() - _LIST_EVERY_S

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run all nodes; whatever ends it, no job is left in the queue."""
        try:
            super().run(graph, config=config, updatehash=updatehash)
        finally:
            waiting = [str(taskid) for taskid in self._pending]
            if waiting:
                with contextlib.suppress(OSError, subprocess.SubprocessError):
                    _call(["scancel", *waiting])

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        """Submit a node; if that fails, the node has failed, where nipype's ends the whole run."""
        # a job that never starts must not be taken for the one that left this the last time
        for left in Path(node.output_dir()).glob("result_*.pklz"):
            left.unlink()
        try:
            return int(super()._submit_job(node, updatehash=updatehash))
        except Exception:
            taskid = -1 - len(self._refused)  # no job has such a number
            self._refused[taskid] = traceback.format_exc()
            return taskid

    def _submit_batchtask(self, scriptfile: str, node: Any) -> int:
        """Call sbatch; nipype's needs LOGNAME, breaks at spaces, and asks for no resources."""
        set_in_script(Path(scriptfile), node.n_procs)
        output = Path(scriptfile).with_name("slurm-%j.out")
        asked = [f"-c{node.n_procs}", f"--mem={math.ceil(node.mem_gb * 1024)}M"]
        if node.is_gpu_node():
            asked.append("--gres=gpu:1")
        if not node.plugin_args.get("overwrite"):
            asked += shlex.split(self._sbatch_args or "")
        asked += shlex.split(node.plugin_args.get("sbatch_args", ""))
        name = ["-J", f"{node.fullname}.{user_name()}"]
        said = _call(["sbatch", "-o", str(output), *name, *asked, scriptfile], tries=_TRIES)
        number = re.search(r"Submitted batch job (\d+)", said)
        if number is None:
            raise RuntimeError(f"sbatch did not say which job it has submitted, but: {said}")
        taskid = int(number[1])
        self._pending[taskid] = node.output_dir()
        self._submitted_at[taskid] = time.monotonic()
        self._asked[taskid] = f"{shlex.join(asked)}; what it printed is in {output}"
        return taskid

    def _is_pending(self, taskid: int) -> bool:
        """Look for a job in the queue, as it was some seconds ago.

        nipype calls squeue for each job at each look, which the keepers of a cluster do not like,
        and gives a job up as soon as the controller does not answer once.
        """
        now = time.monotonic()
        if now > self._listed_at + _LIST_EVERY_S:
            try:
                said = _call(["squeue", "-h", "-u", str(os.getuid()), "-o", "%i"])
            except (OSError, subprocess.SubprocessError, RuntimeError) as error:
                if now > self._listed_at + _PATIENCE_S:
                    raise
                _LOG.warning("squeue does not answer, will ask again: %s", error)
                return True
            self._listed_at, self._listed = now, set(said.split())
        return str(taskid) in self._listed or self._submitted_at[taskid] >= self._listed_at

    def _get_result(self, taskid: int) -> dict[str, Any] | None:
        """Look whether a job has ended; one that left no result is explained.

        nipype stands still until the result of a lost job is overdue, job after job.
        """
        if taskid in self._refused:
            return {"result": None, "traceback": self._refused[taskid]}
        if self._is_pending(taskid):
            return None
        if not any(Path(self._pending[taskid]).glob("result_*.pklz")):
            gone_since = self._gone_since.setdefault(taskid, time.monotonic())
            patience = float(self._config["execution"]["job_finished_timeout"])
            if time.monotonic() < gone_since + patience:
                return None  # a network file system shows new files late
            said = (
                f"Slurm job {taskid} ended without a result{_state(taskid)}: out of memory or "
                "time, cancelled, or its machine failed; it had asked for "
                f"{self._asked[taskid]}.\n"
            )
            return {"result": None, "traceback": said}
        result: dict[str, Any] = super()._get_result(taskid)
        return result

    def _clear_task(self, taskid: int) -> None:
        if taskid not in self._refused:
            super()._clear_task(taskid)


def _call(command: list[str], tries: int = 1) -> str:
    """Run a command of Slurm and return what it says."""
    for left in reversed(range(tries)):
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode == 0:
            break
        if left == 0:
            raise RuntimeError(f"{command[0]} failed: {(done.stderr or done.stdout).strip()}")
        time.sleep(_BETWEEN_TRIES_S)
    return done.stdout


def _state(taskid: int) -> str:
    """Final state of a job as far as Slurm still knows it, as ' (OUT_OF_MEMORY)'."""
    with contextlib.suppress(OSError, subprocess.SubprocessError, RuntimeError):
        state = re.search(r"JobState=(\w+)", _call(["scontrol", "show", "job", str(taskid)]))
        if state:
            return f" ({state[1]})"
    return ""

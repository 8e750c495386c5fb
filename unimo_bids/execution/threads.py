"""How many threads a step uses: set in its process or job, whatever the surroundings say.

The last digits of results depend on it.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

# of the main process, so that jobs elsewhere compute as processes here do
_AS_HERE = ("OPENBLAS_NUM_THREADS", "OMP_WAIT_POLICY")


def use_threads(count: int) -> None:
    """Let this process use so many threads, in torch and in what it starts."""
    os.environ.update(_variables(count))
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)


class ThreadsInJob:
    """Mixed into a plugin of nipype's that writes scripts for a cluster: a job sets its threads.

    Whether a scheduler does so is up to its keepers, and whether it hands on the environment too.
    """

    def _submit_batchtask(self, scriptfile: str, node: Any) -> Any:
        set_in_script(Path(scriptfile), node.n_procs)
        return super()._submit_batchtask(scriptfile, node)  # type: ignore[misc]


def set_in_script(script: Path, count: int) -> None:
    """Let the command at the end of a script use so many threads, whichever shell reads it."""
    *directives, command = script.read_text().splitlines()
    given = {name: os.environ[name] for name in _AS_HERE if name in os.environ}
    words = [f"{name}={value}" for name, value in (given | _variables(count)).items()]
    script.write_text("\n".join([*directives, f"env {shlex.join(words)} {command}"]) + "\n")


def _variables(count: int) -> dict[str, str]:
    # MKL's would have the last word in torch
    return {"OMP_NUM_THREADS": str(count), "MKL_NUM_THREADS": str(count)}

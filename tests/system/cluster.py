"""A Slurm cluster of one node on this machine: its own key, ports and state, for root alone."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

_CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1
MinJobAge=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory={megabytes} Gres=gpu:1
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Path]:
    """Start the cluster; where its configuration is, for ``SLURM_CONF``."""
    if os.getuid() != 0:
        pytest.skip("root alone may start the daemons of Slurm, whose jobs change their user")
    lacking = [one for one in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(one)]
    if lacking:
        pytest.skip(f"Slurm is not installed: there is no {', '.join(lacking)}")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    configuration = folder / "slurm.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            host=socket.gethostname().split(".")[0],
            ports=_free_ports(2),
            folder=folder,
            megabytes=psutil.virtual_memory().total // 2**20 - 512,
        )
    )
    # a GPU only by name, so that jobs may ask for it
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")
    (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
    files = ("key-file=munge.key", "socket=munge.socket", "pid-file=munged.pid")
    files += ("log-file=munged.log", "seed-file=munged.seed")
    munge = [f"--{name}={folder / file}" for name, _, file in (one.partition("=") for one in files)]
    with contextlib.ExitStack() as daemons:
        _start(daemons, folder, "munged", "--foreground", "--force", *munge)
        _wait((folder / "munge.socket").exists, "munged", 20)
        for daemon in ("slurmctld", "slurmd"):
            _start(daemons, folder, daemon, "-D", "-f", str(configuration))
        _wait(lambda: "idle" in slurm(configuration, "sinfo", "-h", "-o", "%T"), "the node", 60)
        yield configuration


def slurm(configuration: Path, *command: str) -> str:
    """Call a command of Slurm; what it prints."""
    env = os.environ | {"SLURM_CONF": str(configuration)}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False).stdout


def wait_for_jobs(configuration: Path, seconds: float = 300) -> None:
    _wait(lambda: not slurm(configuration, "squeue", "-h").strip(), "the last job", seconds)


def _start(daemons: contextlib.ExitStack, folder: Path, *command: str) -> None:
    output = daemons.enter_context((folder / f"{command[0]}.out").open("w"))
    process = subprocess.Popen(command, stdout=output, stderr=output)
    daemons.callback(process.wait, 30)
    daemons.callback(process.terminate)


def _wait(condition: Callable[[], bool], what: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.3)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]

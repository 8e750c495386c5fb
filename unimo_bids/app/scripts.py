"""Scripts of jobs: bash, with the options of Slurm in comments."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from unimo_bids.errors import InputError
from unimo_bids.settings import Settings

# Slurm hands on which GPU is a job's by this variable, and the container is told nothing else
_GPU_INSIDE = """\
for inside in APPTAINERENV SINGULARITYENV; do
    export "${inside}_CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES-}"
done
"""


@dataclass(frozen=True)
class Job:
    """Resources that a job requests."""

    cpus: int
    mem_gb: int
    minutes: int
    gpus: int = 0
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """How a job calls `unimo-bids`.

    Attributes
    ----------
    path
        The program on this machine, or where there is an image in it.
    image
        Of Apptainer or Singularity; None for the program of this machine.
    first
        A line of shell that makes it ready, as ``module load apptainer``.
    """

    path: Path
    image: Path | None = None
    first: str = ""

    def call(self, settings: Settings, gpu: bool = False) -> str:
        """Shell command, up to the analysis level."""
        places = shlex.join([str(settings.bids_dir), str(settings.out_dir)])
        if self.image is None:
            return f"{shlex.quote(str(self.path))} {places}"
        binds = [f"--bind {shlex.quote(one)}" for one in _binds(settings)]
        options = " ".join(["--cleanenv", *(["--nv"] if gpu else []), *binds])
        engine = '"$(command -v apptainer || command -v singularity)"'
        return f"{engine} run {options} {shlex.quote(str(self.image))} {places}"

    def ready(self, gpu: bool = False) -> str:
        """Shell lines that come before the call."""
        return (f"{self.first}\n" if self.first else "") + (
            _GPU_INSIDE if gpu and self.image else ""
        )


def array_script(
    job: Job, program: Program, settings: Settings, labels: Sequence[str], config: Path, app_gb: int
) -> str:
    """Write the script of an array: a participant for each number, from 1 on.

    Parameters
    ----------
    labels
        Of the participants. They are in the script, of which the scheduler keeps a copy: a later
        call cannot change whose turn it is.
    config
        Settings that all share.
    app_gb
        Memory of the job that the steps may use.
    """
    gpu = job.gpus > 0
    limits = f"--nprocs {job.cpus} --mem {app_gb}G"
    return f"""\
{_head("unimo-bids", "logs/%A_%a.txt", job)}
# A job of an array is one of these. Arrays that begin further down are told where.
labels=({" ".join(labels)})
task=${{SLURM_ARRAY_TASK_ID:-${{PBS_ARRAY_INDEX:-${{SGE_TASK_ID:?this is for an array of jobs}}}}}}
label=${{labels[${{1:-0}} + task - 1]}}
{program.ready(gpu)}\
exec {program.call(settings, gpu)} participant \\
    --config-file {shlex.quote(str(config))} \\
    --participant-label "$label" {limits}
"""


def group_script(job: Job, program: Program, settings: Settings, config: Path) -> str:
    """Write the script of the group level."""
    return f"""\
{_head("unimo-bids-group", "logs/%j_group.txt", job)}
{program.ready()}\
exec {program.call(settings)} group --config-file {shlex.quote(str(config))}
"""


def submit_script(count: int, longest: int, at_once: int | None = None) -> str:
    """Write the script that submits the arrays, none longer than allowed, and the group level."""
    limit = f"%{at_once}" if at_once else ""
    arrays = [
        f"jobs+=:$(sbatch --parsable --array=1-{min(longest, count - first)}{limit}"
        f" participant.sh {first} | cut -d';' -f1)"
        for first in range(0, count, longest)
    ]
    return "\n".join(
        [
            "#!/bin/bash",
            "# Submit a job for each participant, and the group level when all of them have ended.",
            "set -euo pipefail",
            'cd "$(dirname "$0")"',
            "jobs=",
            *arrays,
            'group=$(sbatch --parsable --dependency="afterany$jobs" group.sh)',
            'echo "participants ${jobs#:}, then group $group"',
            "",
        ]
    )


def _head(name: str, log: str, job: Job) -> str:
    hours, minutes = divmod(job.minutes, 60)
    options = [
        f"--job-name={name}",
        f"--output={log}",
        f"--cpus-per-task={job.cpus}",
        f"--mem={job.mem_gb}G",
        f"--time={hours:02}:{minutes:02}:00",
        *([f"--gres=gpu:{job.gpus}"] if job.gpus else []),
        *job.options,
    ]
    return "\n".join(["#!/bin/bash", *(f"#SBATCH {one}" for one in options), "set -eu"])


def _binds(settings: Settings) -> Iterator[str]:
    """Folders to mount in the container, at the same paths as here."""
    read = [settings.bids_dir, *settings.derivatives.values()]
    read += [settings.bids_filter_file] if settings.bids_filter_file else []
    written = [settings.out_dir, settings.work_dir]  # after what they may lie in
    written += [settings.bids_database_dir] if settings.bids_database_dir else []
    for path in (*read, *written):
        if set(":,") & set(str(path)):
            finding = "the container cannot be told of a path with a colon or a comma"
            raise InputError(path, finding, "rename it or use no --image")
        yield f"{path}:{path}" + (":ro" if path in read else "")

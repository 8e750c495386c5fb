"""Jobs of a Slurm cluster: one for each participant that is not done, then the group level."""

from __future__ import annotations

import datetime
import math
import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from unimo_bids.app.outcome import Outcome
from unimo_bids.app.participants import select_runs
from unimo_bids.app.plan import duration, estimate, together
from unimo_bids.app.scripts import Job, Program, array_script, group_script, submit_script
from unimo_bids.bids.names import report, run_names
from unimo_bids.bids.query import BoldRun, Selection
from unimo_bids.errors import InputError, MachineError
from unimo_bids.files.staging import make_folder, write_text
from unimo_bids.reports.group import find_summaries
from unimo_bids.settings import Settings
from unimo_bids.workflows.bold import step_gb

# few participants have more runs, and a job that asks for more waits longer
_MOST_CPUS = 4
# the program that hands out the steps, besides these
_MAIN_GB = 1.0
# The estimate is of one adult run on one processor. Convention: large motion takes up to twice
# as long, and a cluster's processors are half as fast.
_SLOWER = 4
_LEAST_MINUTES = 20
# of a run that cannot be read here, as one that is still to be fetched
_UNKNOWN_GB, _UNKNOWN_S = 4.0, 900.0
_GROUP = Job(cpus=1, mem_gb=4, minutes=60)
_LONGEST_ARRAY = 1000  # MaxArraySize of Slurm's defaults, less the 0


def submit_array(
    settings: Settings,
    program: Program,
    *,
    options: Sequence[str] = (),
    at_once: int | None = None,
    everyone: bool = False,
    submit: bool = False,
) -> Outcome:
    """Write the scripts of an array job, and submit it if that was asked for.

    Parameters
    ----------
    settings
        Of all jobs; processors, GPUs and memory are those of one.
    options
        Of sbatch; they win over what is estimated here.
    at_once
        The most jobs that may run at a time.
    everyone
        Those too whose results are complete.
    """
    _check(settings)
    selection = select_runs(settings)
    chosen = selection.participants if everyone else unfinished(selection, settings)
    if not chosen:
        return Outcome(("all participants are done: there is nothing to submit",))
    job = replace(job_for(chosen.values(), settings), options=tuple(options))
    told = _announcement(selection, chosen, job)
    if settings.dry_run:
        return Outcome((told,), selection.warnings)
    folder = _write(settings, program, job, [*chosen], at_once)
    script = folder / "submit.sh"
    by_hand = f"to submit: bash {shlex.quote(str(script))}"
    return Outcome(
        (told, f"submitted: {_submit(script)}" if submit else by_hand), selection.warnings
    )


def unfinished(selection: Selection, settings: Settings) -> Mapping[str, tuple[BoldRun, ...]]:
    """Participants who lack a file of a run, or the report."""
    complete, out = find_summaries(settings.out_dir), settings.out_dir

    def done(run: BoldRun) -> bool:
        files = run_names(run.entities, run.echoes, settings.level).all
        return run.name in complete and all((out / path).exists() for path in files)

    return {
        label: runs
        for label, runs in selection.participants.items()
        if not (all(map(done, runs)) and (out / report(label)).exists())
    }


def job_for(participants: Iterable[Sequence[BoldRun]], settings: Settings) -> Job:
    """Estimate the resources of the largest participant: all jobs of an array get the same."""
    everybody, threads = list(participants), settings.omp_nthreads or 1
    cpus = settings.nprocs or threads * min(_MOST_CPUS, max(map(len, everybody)))
    side_by_side = cpus // threads
    memory = seconds = 0.0
    for runs in everybody:
        known = [estimate(run) for run in runs]
        steps = sorted((step_gb(one.gb) if one else _UNKNOWN_GB for one in known), reverse=True)
        memory = max(memory, _MAIN_GB + sum(steps[:side_by_side]))
        times = [one.seconds if one else _UNKNOWN_S for one in known]
        seconds = max(seconds, together(times, side_by_side))
    minutes = max(_LEAST_MINUTES, 10 * math.ceil(_SLOWER * seconds / 600))
    on_gpu = settings.device.startswith("cuda") or settings.gpus is not None
    gpus = (settings.gpus or 1) if on_gpu else 0
    return Job(cpus, math.ceil(settings.mem_gb or memory), minutes, gpus)


def _check(settings: Settings) -> None:
    """Refuse options that make no sense in an array of jobs."""
    if settings.analysis_level == "group":
        finding = "it is submitted with the participants, to begin when they have ended"
        raise InputError("group", finding, "give participant")
    for option, given in (
        ("--use-plugin", settings.use_plugin),
        ("--reports-only", settings.reports_only),
        ("--boilerplate-only", settings.boilerplate_only),
    ):
        if given:
            raise InputError(option, "it is not for an array of jobs", "give it to unimo-bids")
    if settings.mem_gb and settings.mem_gb < _MAIN_GB + step_gb(0):
        finding = f"a job of {settings.mem_gb:g} GB is too small for any run"
        raise InputError("--mem", finding, "give 2G or more")


def _announcement(selection: Selection, chosen: Mapping[str, Sequence[BoldRun]], job: Job) -> str:
    runs, done = sum(map(len, chosen.values())), len(selection.participants) - len(chosen)
    gpus = f", {job.gpus} GPU" if job.gpus else ""
    jobs = "1 job" if len(chosen) == 1 else f"{len(chosen)} jobs"
    return (
        f"{jobs} for {runs} runs; participants done before: {done}. Each asks for {job.cpus} "
        f"processors{gpus}, {job.mem_gb} GB, {duration(60 * job.minutes).removeprefix('about ')}"
    )


def _write(
    settings: Settings, program: Program, job: Job, labels: Sequence[str], at_once: int | None
) -> Path:
    """Write the scripts to a folder of their own, as jobs of another call may still wait."""
    folder = settings.work_dir / "slurm" / f"{datetime.datetime.now():%Y%m%d-%H%M%S}"
    make_folder(settings.out_dir)  # containers want it to be there
    make_folder(folder / "logs", new=True)
    # the dataset was validated as a whole: not once more by each of thousands of jobs
    alike = replace(
        settings, participant_label=(), nprocs=None, mem_gb=None, skip_bids_validation=True
    )
    config = folder / "settings.toml"
    alike.write(config)
    app_gb = max(1, math.floor(job.mem_gb - _MAIN_GB))
    for name, text in (
        ("participant.sh", array_script(job, program, alike, labels, config, app_gb)),
        ("group.sh", group_script(replace(_GROUP, options=job.options), program, alike, config)),
        ("submit.sh", submit_script(len(labels), _longest_array(), at_once)),
    ):
        write_text(folder / name, text)
    return folder


def _longest_array() -> int:
    """Largest number of jobs in an array on this cluster."""
    try:
        said = subprocess.run(
            ["scontrol", "show", "config"], capture_output=True, text=True, timeout=60, check=False
        ).stdout
    except (OSError, subprocess.SubprocessError):
        said = ""
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", said)
    return max(1, int(found[1]) - 1) if found else _LONGEST_ARRAY


def _submit(script: Path) -> str:
    """Run the script that submits the jobs, and return its output."""
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        finding = f"not all could be submitted ({done.stderr.strip()})"
        raise MachineError(script, finding, "correct it with --sbatch, or submit by hand")
    return done.stdout.strip()

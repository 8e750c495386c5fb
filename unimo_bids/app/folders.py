"""What is made ready before the steps run, and removed after them."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from unimo_bids.bids.names import CITATION
from unimo_bids.errors import MachineError
from unimo_bids.execution.naming import workflow_name
from unimo_bids.files.staging import STALE_S, remove_unfinished
from unimo_bids.settings import Settings

_ALL_STEPS = "unimo_bids_wf"


def steps_folder(settings: Settings) -> Path:
    """Working folder of all steps; each version of the program has its own."""
    return settings.work_dir / f"unimo-bids-{version('unimo-bids')}"


def participant_steps(work: Path, participant: str) -> Path:
    """Working folder of the steps of a participant, ``sub-01``."""
    return work / _ALL_STEPS / f"{workflow_name(participant)}_wf"


def check_work(folder: Path) -> None:
    """Refuse a working folder that cannot be written, be it given or the default."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        finding = f"the work folder cannot be written ({error.strerror})"
        raise MachineError(folder, finding, "choose another with --work-dir") from error


def remove_steps(work: Path, participants: Iterable[str]) -> None:
    """Remove intermediate files of these participants only: other calls may run beside this one."""
    for participant in participants:
        shutil.rmtree(participant_steps(work, participant), ignore_errors=True)
    for folder in (work / _ALL_STEPS, work):
        with contextlib.suppress(OSError):  # not empty, or not there
            folder.rmdir()


def remove_interrupted(settings: Settings, participants: Sequence[str]) -> None:
    """Remove half-written files of calls that were killed."""
    out = settings.out_dir
    # The participants are locked: nobody else is writing their files, but for jobs on a cluster,
    # which may live on when their call was killed.
    age = STALE_S if settings.use_plugin else 0.0
    for participant in participants:
        for page in (f"{participant}.html", f"{participant}_ses-*.html"):
            remove_unfinished(out, page)
        for inside, _, _ in os.walk(out / participant):
            remove_unfinished(Path(inside), older_than_s=age)
    # of the whole dataset: calls on other participants may be writing it
    for folder in (out, (out / CITATION).parent):
        remove_unfinished(folder, older_than_s=STALE_S)

import io
import logging
import os
import shutil
import warnings
from pathlib import Path

import pytest
from rich.console import Console

from tests.execution.workflows import SMALL, die, node, run_of, whole
from unimo_bids.execution.log import LOG_NAME, run_log
from unimo_bids.execution.runner import run_workflow

pytestmark = pytest.mark.timeout(60)


def speak(notes, word):
    import logging
    import os
    import warnings

    logging.getLogger("unimo_bids.motion").warning("%s has moved", word)
    warnings.warn("an old habit", FutureWarning, stacklevel=1)
    print("printed by Python")
    os.system("echo printed by a program")


def run_logged(tmp_path, *parts, verbosity=0):
    folders = {label: tmp_path / label / "log" for label in ("sub-01", "sub-02")}
    console = Console(file=io.StringIO(), width=200)
    with run_log(folders, verbosity=verbosity, console=console):
        run_workflow(whole(tmp_path, *parts), **SMALL, crash_dir=tmp_path)
    files = [(folder / LOG_NAME).read_text() for folder in folders.values()]
    return (*files, console.file.getvalue())


def test_each_participant_has_its_log(tmp_path, notes):
    parts = [run_of(label, "rest", node(speak, f"motion{label}", notes)) for label in ("01", "02")]
    first, second, shown = run_logged(tmp_path, *parts)
    for text, mine, other in ((first, "01", "02"), (second, "02", "01")):
        where = f"[unimo_bids_wf.sub_{mine}_wf.task_rest_wf.motion{mine}]"
        assert f"WARNING unimo_bids.motion {where}: motion{mine} has moved" in text
        assert f"motion{other} has moved" not in text
        assert "FutureWarning: an old habit" in text
        assert "printed by Python" in text and "printed by a program" in text
        assert "Running in parallel" in text  # nipype's, from the parent
        assert f'Executing "motion{mine}"' in text  # nipype's, from the process of the node
    assert "motion01 has moved" in shown and "motion02 has moved" in shown
    assert "habit" not in shown and "printed" not in shown and "Executing" not in shown


@pytest.mark.parametrize(
    ("verbosity", "habit", "executing", "debug"),
    [(1, True, False, False), (2, True, True, False), (3, True, True, True)],
)
def test_verbosity(tmp_path, notes, verbosity, habit, executing, debug):
    part = run_of("01", "rest", node(speak, "motion", notes))
    text, _, shown = run_logged(tmp_path, part, verbosity=verbosity)
    assert ("habit" in shown) == habit
    assert ("Executing" in shown) == executing
    assert ("Not cached" in shown) == debug  # said by nipype at its lowest level
    assert ("Not cached" in text) == debug


def test_crash_is_in_the_log_not_on_the_terminal(tmp_path, notes):
    part = run_of("01", "rest", node(die, "motion", notes, how="SIGSEGV"))
    text, _, shown = run_logged(tmp_path, part)
    assert "crashed in compiled code (SIGSEGV)" in text
    assert "Segmentation fault" in text  # what Python's fault handler has printed
    assert shown == ""


def test_all_is_as_before_afterwards(tmp_path):
    root = logging.getLogger()
    before = list(root.handlers), root.level, warnings.showwarning
    with run_log({"sub-01": tmp_path}):
        assert len(root.handlers) == len(before[0]) + 2
    assert (list(root.handlers), root.level, warnings.showwarning) == before


def test_log_on_a_full_disk_does_not_fill_the_terminal(capfd):
    folder = Path("/dev/shm") / f"unimo-bids-{os.getpid()}"
    folder.mkdir()
    (folder / LOG_NAME).symlink_to("/dev/full")
    try:
        with run_log({"sub-01": folder}, console=Console(file=io.StringIO())):
            logging.getLogger("unimo_bids.motion").warning("moved")
    finally:
        shutil.rmtree(folder)
    assert capfd.readouterr().err == ""

"""Where the brain is, as a dataset says it."""

from __future__ import annotations

import pytest

from tests.bids.layouts import dataset, settings, write
from unimo_bids.bids.query import find_runs

SERIES = "sub-01_ses-1_task-rest_bold.nii.gz"
OWN = "sub-01/ses-1/func/sub-01_ses-1_task-rest_bold.json"


@pytest.fixture
def raw(tmp_path):
    return dataset(tmp_path / "raw", SERIES)


def run_of(folder, **options):
    (run,) = find_runs(settings(folder, **options)).runs
    return run


def told(folder, **options):
    """Place and reason of the only run, and what is warned of."""
    run = run_of(folder, **options)
    hint = None if run.hint is None else (run.hint.place, run.hint.reason)
    return hint, list(run.warnings)


def sidecar(folder, name, value):
    about = {"TaskName": "rest", "RepetitionTime": 2.0, "BrainCenter": value}
    write(folder / name, about)


def table(folder, value, session=None):
    write(folder / "participants.tsv", f"participant_id\tbrain_center\nsub-01\t{value}\n")
    if session is not None:
        path = folder / "sub-01" / "sub-01_sessions.tsv"
        write(path, f"session_id\tbrain_center\nses-1\t{session}\n")


def test_nobody_need_say_it(raw):
    assert told(raw) == (None, [])
    table(raw, "n/a", session="n/a")
    sidecar(raw, OWN, "n/a")
    assert told(raw) == (None, [])


def test_the_nearest_has_the_say(raw):
    table(raw, "1,2,3")
    assert told(raw) == (("1,2,3", "participants.tsv: brain_center"), [])
    table(raw, "1,2,3", session="4, -5, 6")
    assert told(raw) == (("4,-5,6", "sub-01_sessions.tsv: brain_center"), [])
    sidecar(raw, "task-rest_bold.json", [7, -8.5, 9])
    assert told(raw) == (("7,-8.5,9", "task-rest_bold.json: BrainCenter"), [])
    sidecar(raw, OWN, "10,11,12vox")
    assert told(raw) == (("10,11,12vox", "sub-01_ses-1_task-rest_bold.json: BrainCenter"), [])
    assert told(raw, brain_center="0,0,0") == (("0,0,0", "--brain-center"), [])


@pytest.mark.parametrize(
    "value", [[1, 2], [1, 2, "3"], [1, 2, True], {"x": 1}, "left", "1,2", 5, [1e400, 0, None]]
)
def test_what_is_no_place_is_warned_of_and_ignored(raw, value):
    table(raw, "1,2,3")
    sidecar(raw, OWN, value)
    hint, (warning,) = told(raw)
    assert hint == ("1,2,3", "participants.tsv: brain_center")
    assert warning.startswith("sub-01_ses-1_task-rest_bold.json: BrainCenter ")
    assert "is no place and was ignored (X,Y,Z in mm (RAS), or I,J,Kvox" in warning

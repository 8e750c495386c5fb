from __future__ import annotations

import stat

import pytest

from tests.bids.layouts import dataset, image, settings, write
from unimo_bids.bids import validation
from unimo_bids.bids.query import find_runs, used_files
from unimo_bids.bids.validation import check_dataset
from unimo_bids.errors import InputError

SERIES = ("sub-01_task-rest_bold.nii.gz", "sub-02_task-rest_bold.nii.gz")


def used(folder, **options):
    chosen = settings(folder, **options)
    return used_files(find_runs(chosen), chosen)


def test_errors_in_files_that_no_run_uses_are_a_warning(tmp_path):
    folder = dataset(tmp_path, *SERIES)
    for number in range(4):
        image(folder / "sub-02" / "func" / f"sub-02_stray{number}.nii.gz")
    write(folder / "stray.txt", "x")
    # stimuli that are nowhere, as in many a dataset
    events = "onset\tduration\tstim_file\n0\t1\tface.png\n"
    write(folder / "sub-01/func/sub-01_task-rest_events.tsv", events)
    said = check_dataset(folder, used(folder))
    assert said.startswith("In files that these runs do not use, the BIDS validator finds 6 errors")
    assert "and 3 more" in said and "sub-01_task-rest_events.tsv: " in said


def test_errors_are_named_as_far_as_they_concern_the_runs(tmp_path):
    sidecars = {
        "task-rest_bold.json": {"TaskName": "rest", "RepetitionTime": 2.0},
        "sub-02/func/sub-02_task-rest_bold.json": {"EchoTime": "short"},
    }
    folder = dataset(tmp_path, *SERIES, sidecars=sidecars)
    with pytest.raises(InputError) as refusal:
        check_dataset(folder, used(folder))
    sentence = str(refusal.value)
    assert "1 error (sub-02/func/sub-02_task-rest_bold.json: " in sentence
    assert "--skip-bids-validation" in sentence
    said = check_dataset(folder, used(folder, participant_label=("01",)))
    assert said.startswith("In files that these runs do not use") and "sub-02_task-rest" in said


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo no json", "no output"),
        ("echo broken >&2; exit 1", "broken"),
        ("echo '{\"issues\": 3}'", "no output"),
        ("sleep 9", "no answer in"),
    ],
)
def test_a_validator_that_fails_does_not_stop_the_run(tmp_path, monkeypatch, script, reason):
    program = write(tmp_path / "validator", f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(validation, "_find", lambda: str(program))
    monkeypatch.setattr(validation, "_SECONDS", 0.3)
    said = check_dataset(dataset(tmp_path / "raw", *SERIES), [])
    assert reason in said and "not checked" in said


def test_a_link_that_leads_back_does_not_hang(tmp_path):
    folder = dataset(tmp_path / "raw", *SERIES)
    (folder / "sub-01" / "loop").symlink_to(folder, target_is_directory=True)
    said = check_dataset(folder, used(folder))
    assert said.startswith(f"{folder / 'sub-01/loop'} is linked to a folder that holds it")
    # other links are no harm
    (folder / "sub-01" / "loop").unlink()
    (folder / "sub-02").rename(tmp_path / "sub-02")
    (folder / "sub-02").symlink_to(tmp_path / "sub-02", target_is_directory=True)
    assert "not checked" not in str(check_dataset(folder, []))

"""What the program answers before and after it has computed; with real runs: tests/system."""

from __future__ import annotations

import pytest

from tests.bids.layouts import dataset
from unimo_bids.cli import run


@pytest.fixture
def raw(tmp_path):
    return dataset(tmp_path / "raw", "sub-01_task-rest_bold.nii.gz", "sub-02_task-rest_bold.nii.gz")


@pytest.fixture
def words(raw, tmp_path):
    places = [str(raw), str(tmp_path / "out"), "participant", "--work-dir", str(tmp_path / "work")]
    return [*places, "--skip-bids-validation"]


def test_a_report_that_fails_takes_no_other_down(words, tmp_path, monkeypatch, capsys):
    from unimo_bids.cli import participants

    write = participants.write_participant_report

    def refuse(out_dir, participant, **given):
        if participant == "sub-01":
            raise OSError("no ink")
        return write(out_dir, participant, **given)

    monkeypatch.setattr(participants, "write_participant_report", refuse)
    assert run.main([*words, "--reports-only"]) == 3
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == "failed: report of sub-01: no ink"
    assert out.splitlines() == [str(tmp_path / "out" / "sub-02.html")]


def test_a_participant_without_a_run_that_fits_is_told(words, raw, capsys):
    (raw / "sub-02/func/sub-02_task-rest_bold.nii.gz").rename(
        raw / "sub-02/func/sub-02_task-rest_run-1_bold.nii.gz"
    )
    options = ["--participant-label", "01", "02", "--run-id", "1", "--reports-only"]
    assert run.main([*words, *options]) == 0
    assert "Nothing of sub-01 fits" in " ".join(capsys.readouterr().err.split())


def test_results_of_others_are_left_alone(words, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    about = '{"Name": "x", "BIDSVersion": "1.9.0", "GeneratedBy": [{"Name": "fMRIPrep"}]}'
    (tmp_path / "out" / "dataset_description.json").write_text(about)
    assert run.main([*words, "--reports-only"]) == 2
    assert "the results of fMRIPrep" in capsys.readouterr().err
    there = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert [path.name for path in there] == ["dataset_description.json"]
    assert there[0].read_text() == about


def test_links_of_earlier_calls_are_kept(words, raw, tmp_path):
    import json

    (tmp_path / "masks").mkdir()
    given = ["--derivatives", f"masks={tmp_path / 'masks'}"]
    assert run.main([*words, "--boilerplate-only", *given]) == 0
    assert run.main([*words, "--boilerplate-only"]) == 0
    about = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert about["DatasetLinks"] == {
        "raw": raw.as_uri(), "masks": (tmp_path / "masks").as_uri(),
    }  # fmt: skip


def test_a_group_of_none_is_refused(raw, tmp_path, capsys):
    assert run.main([str(raw), str(tmp_path / "nothing"), "group"]) == 2
    assert "participant" in capsys.readouterr().err
    assert not (tmp_path / "nothing").exists()


def test_what_nobody_expected_is_told_in_one_line(words, monkeypatch, capsys):
    from unimo_bids.cli import participants

    def fail(_settings):
        raise KeyError("who would have thought")

    monkeypatch.setattr(participants, "find_runs", fail)
    assert run.main(words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "who would have thought" in line and "--debug" in line

"""What the program answers before and after it has computed; with real runs: tests/system."""

from __future__ import annotations

import gc
import json
import os
import time

import pytest

from tests.bids.layouts import dataset
from unimo_bids.cli import run
from unimo_bids.cli.guard import importing
from unimo_bids.networks.weights import shipped


@pytest.fixture
def raw(tmp_path):
    return dataset(tmp_path / "raw", "sub-01_task-rest_bold.nii.gz", "sub-02_task-rest_bold.nii.gz")


@pytest.fixture
def words(raw, tmp_path):
    places = [str(raw), str(tmp_path / "out"), "participant", "--work-dir", str(tmp_path / "work")]
    return [*places, "--skip-bids-validation"]


def test_a_report_that_fails_takes_no_other_down(words, tmp_path, monkeypatch, capsys):
    from unimo_bids.app import reports

    write = reports.write_participant_report

    def refuse(out_dir, participant, **given):
        if participant == "sub-01":
            raise OSError("no ink")
        return write(out_dir, participant, **given)

    monkeypatch.setattr(reports, "write_participant_report", refuse)
    _summaries(tmp_path / "out", "sub-02_task-rest")
    assert run.main([*words, "--reports-only"]) == 3
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == "failed: report of sub-01: no ink"
    assert out.splitlines() == [str(tmp_path / "out" / "sub-02.html")]
    # networks by the content of their files: that a report is of others can be seen
    networks = shipped()
    assert [one.split()[0] for one in networks.split(", ")] == ["brain", "pose", "track"]
    assert networks in (tmp_path / "out" / "sub-02.html").read_text()


def test_reports_of_nothing_are_refused(words, tmp_path, capsys):
    out = tmp_path / "out"
    assert run.main([*words, "--reports-only"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "there are no results of these participants" in line and "--reports-only" in line
    assert not out.exists()
    _summaries(out, "sub-01_task-rest")
    assert run.main([*words, "--reports-only", "--participant-label", "02"]) == 2
    # a call whose runs have all failed has left its log
    settings = out / "sub-02" / "log" / "20260101-000000_x" / "settings.toml"
    settings.parent.mkdir(parents=True)
    settings.touch()
    assert run.main([*words, "--reports-only", "--participant-label", "02"]) == 0
    assert "not finished" in (out / "sub-02.html").read_text()


def test_a_plan_for_a_folder_that_cannot_be_used_is_refused(words, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dataset_description.json").write_text('{"Name": "raw"}')
    assert run.main([*words, "--dry-run"]) == 2
    printed = capsys.readouterr()
    assert "this folder holds other data" in printed.err and printed.out == ""


@pytest.mark.parametrize(
    ("graphviz", "drawn"),
    [
        ('echo "<svg/>" > "${2#-o}"', True),
        ('echo "<svg>" > "${2#-o}"; exit 1', False),
        ("exit 0", False),
        ('echo "<svg>" > "${2#-o}"; exec sleep 9', False),
    ],
)
def test_a_graph_that_cannot_be_drawn_ends_nothing(
    words, tmp_path, monkeypatch, capsys, graphviz, drawn
):
    from unimo_bids.app import running

    program = tmp_path / "bin" / "dot"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{graphviz}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(running, "_DRAWING_S", 1)
    begun = []
    monkeypatch.setattr(running, "run_workflow", lambda *_, **__: begun.append(1) or [])
    assert run.main([*words, "--write-graph"]) == 0
    assert begun
    told = "the workflow could not be drawn" in " ".join(capsys.readouterr().err.split())
    (dot,) = (tmp_path / "out" / "sub-01" / "log").glob("*/workflow.dot")
    assert "digraph" in dot.read_text()
    assert dot.with_suffix(".svg").exists() == drawn == (not told)


def test_a_participant_without_a_run_that_fits_is_told(words, raw, tmp_path, capsys):
    _summaries(tmp_path / "out", "sub-02_task-rest_run-1")
    (raw / "sub-02/func/sub-02_task-rest_bold.nii.gz").rename(
        raw / "sub-02/func/sub-02_task-rest_run-1_bold.nii.gz"
    )
    options = ["--participant-label", "01", "02", "--run-id", "1", "--reports-only"]
    assert run.main([*words, *options]) == 0
    assert "No run of sub-01 matches the selection" in " ".join(capsys.readouterr().err.split())


def test_what_killed_calls_were_writing_goes(words, raw, tmp_path):
    out = tmp_path / "out"
    day = 86_400
    left = {  # and how old it is, s
        ".unimo-0123abcd-sub-01.html": 1,
        "sub-01/figures/.unimo-0123abcd-sub-01_task-rest_desc-brain_bold.svg": 1,
        "sub-01/ses-1/func/.unimo-0123abcd-sub-01_ses-1_task-rest_bold.nii.gz": 1,
        "sub-01/log/x/.unimo-0123abcd-resources.tsv": 1,
        ".unimo-0123abcd-dataset_description.json": 2 * day,
        "logs/.unimo-0123abcd-CITATION.md": 2 * day,
    }
    kept = {
        # another call may be at work on these
        ".unimo-0123abcd-sub-02.html": 1,
        "sub-02/func/.unimo-0123abcd-sub-02_task-rest_bold.nii.gz": 1,
        ".unimo-0123abcd-.bidsignore": 1,
        "logs/.unimo-0123abcd-CITATION.html": 1,
        # not ours
        "sub-01/.hidden-sub-01.html": 2 * day,
        "sub-01/func/.unimo-notes": 2 * day,
        "sub-01/func/.unimo-0123abcd": 2 * day,
    }
    _summaries(out, "sub-01_task-rest")
    for name, age in (left | kept).items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    assert run.main([*words, "--participant-label", "01", "--reports-only"]) == 0
    assert [name for name in left if (out / name).exists()] == []
    assert [name for name in kept if not (out / name).exists()] == []

    _summaries(out, "sub-02_task-rest")
    (out / ".unimo-0123abcd-group_bold.tsv").touch()
    assert run.main([str(raw), str(out), "group"]) == 0
    assert not (out / ".unimo-0123abcd-group_bold.tsv").exists()
    assert (out / ".unimo-0123abcd-sub-02.html").exists()


def _summaries(out, *runs):
    """Results, as far as the level `group` looks at them."""
    for name in runs:
        figures = out / name.partition("_")[0] / "figures"
        figures.mkdir(parents=True, exist_ok=True)
        content = {"facts": {}, "warnings": [], "numbers": {"fd_mean": 0.2}}
        (figures / f"{name}_desc-summary_bold.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ((), [0, 1, 2]),
        (("--participant-label", "sub-02"), [2]),
        (("--participant-label", "01", "02", "--run-id", "1"), [0]),
        (("--participant-label", "01", "--task-id", "rest", "--echo-idx", "2"), [0, 1]),
    ],
)
def test_a_group_of_those_that_were_asked_for(raw, tmp_path, words, left):
    runs = ["sub-01_task-rest_run-01", "sub-01_task-rest_run-02", "sub-02_task-rest"]
    _summaries(tmp_path / "out", *runs)
    assert run.main([str(raw), str(tmp_path / "out"), "group", *words]) == 0
    _, *rows = (tmp_path / "out" / "group_bold.tsv").read_text().splitlines()
    assert [row.split("\t")[0] for row in rows] == [runs[k] for k in left]
    page = (tmp_path / "out" / "group_bold.html").read_text()
    assert [name in page for name in runs] == [k in left for k in range(3)]


def test_runs_without_results_are_named(tmp_path, capsys):
    runs = ["sub-01_task-rest_run-1", "sub-01_task-rest_run-2", "sub-02_ses-a_task-me", "sub-03_x"]
    echoes = [f"{runs[2]}_echo-{echo}" for echo in (1, 2)]
    raw = dataset(tmp_path / "raw", *(f"{name}_bold.nii.gz" for name in (*runs[:2], *echoes)))
    places = [str(raw), str(tmp_path / "out"), "group"]
    page = tmp_path / "out" / "group_bold.html"
    _summaries(tmp_path / "out", runs[0], "sub-04_task-old")
    assert run.main(places) == 0
    out, err = capsys.readouterr()
    assert err.splitlines() == [f"no results of: {runs[1]}, {runs[2]}"]
    assert len(out.splitlines()) == 2
    told = f"<strong>No results of 2 runs:</strong> {runs[1]}, {runs[2]}<"
    assert told in page.read_text()
    # those that were not asked for are not missed
    assert run.main([*places, "--participant-label", "01"]) == 0
    assert capsys.readouterr().err.splitlines() == [f"no results of: {runs[1]}"]
    assert "<strong>No results of 1 run:</strong>" in page.read_text()
    assert run.main([*places, "--participant-label", "02"]) == 2
    assert "no results of what was asked for" in capsys.readouterr().err
    _summaries(tmp_path / "out", runs[1], runs[2])
    assert run.main(places) == 0
    assert capsys.readouterr().err == "" and "No results" not in page.read_text()


def test_what_nobody_expected_is_told_in_one_line(words, monkeypatch, capsys):
    from unimo_bids.app import participants

    def fail(_settings):
        raise KeyError("who would have thought")

    monkeypatch.setattr(participants, "find_runs", fail)
    assert run.main(words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "who would have thought" in line and "--debug" in line


@pytest.mark.parametrize(
    "about",
    [
        {"DatasetType": "derivative", "GeneratedBy": [{"Name": "fMRIPrep", "Version": "24.1.0"}]},
        {"PipelineDescription": {"Name": "fMRIPrep", "Version": "1.5.0"}},
    ],
)
@pytest.mark.parametrize("series", [True, False])
def test_results_of_a_program_are_no_raw_data(tmp_path, capsys, about, series):
    name = "sub-01_task-rest_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"
    folder = dataset(tmp_path / "raw", *([name] if series else []), **about)
    if "DatasetType" not in about:
        path = folder / "dataset_description.json"
        content = json.loads(path.read_text())
        path.write_text(json.dumps({k: v for k, v in content.items() if k != "DatasetType"}))
    assert run.main([str(folder), str(tmp_path / "out"), "participant"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "this is a derivatives dataset (fMRIPrep)" in line and "give the raw dataset" in line
    assert "rename" not in line


def test_denoised_data_with_raw_names_are_corrected_whatever_they_call_themselves(tmp_path):
    about = {"DatasetType": "derivative", "GeneratedBy": [{"Name": "a denoiser"}]}
    folder = dataset(tmp_path / "raw", "sub-01_task-rest_bold.nii.gz", **about)
    words = [str(folder), str(tmp_path / "out"), "participant", "--skip-bids-validation"]
    assert run.main([*words, "--dry-run"]) == 0


def test_a_dataset_without_bold_is_refused_before_it_is_validated(tmp_path, monkeypatch, capsys):
    from unimo_bids.app import participants

    folder = dataset(tmp_path / "raw")
    for name in ("sub-01/ses-1/eeg/sub-01_ses-1_task-x_eeg.edf", "sub-02/anat/sub-02_T1w.nii.gz"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).touch()  # the validator says EMPTY_FILE
    monkeypatch.setattr(participants, "check_dataset", lambda *_: pytest.fail("validated"))
    assert run.main([str(folder), str(tmp_path / "out"), "participant"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "there is no BOLD series in this dataset" in line and ", only anat, eeg; check" in line


def test_garbage_is_collected_again_after_imports():
    with pytest.raises(ImportError), importing():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()

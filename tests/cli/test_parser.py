from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

import pytest

from unimo_bids.cli.parser import parse
from unimo_bids.settings import Settings


@pytest.fixture
def bids(tmp_path, monkeypatch):
    """A dataset, in a folder that is not the one to work in."""
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


def parsed(bids, *options):
    return parse([str(bids), str(bids.parent / "out"), "participant", *map(str, options)])


def refused(capsys, *argv, code=2):
    with pytest.raises(SystemExit) as stop:
        parse([str(one) for one in argv])
    assert stop.value.code == code
    printed = capsys.readouterr()
    (sentence,) = printed.err.splitlines()
    assert sentence.startswith("error: ") and sentence.endswith(".") and printed.out == ""
    return sentence


def test_defaults_are_those_of_the_settings(bids):
    assert parsed(bids) == Settings(bids_dir=bids, out_dir=bids.parent / "out")


# words, and what they set; in TMP
OPTIONS = [
    ("--participant-label sub-01 02", "participant_label", ("01", "02")),
    ("--session-label ses-a b", "session_label", ("a", "b")),
    ("-t task-rest film", "task_id", ("rest", "film")),
    ("--run-id run-1", "run_id", ("1",)),
    ("--echo-idx 2", "echo_idx", 2),
    ("--bids-filter-file TMP/filters.json", "bids_filter_file", Path("TMP/filters.json")),
    ("-d m=TMP/masks", "derivatives", {"m": Path("TMP/masks")}),
    ("--bids-database-dir TMP/db", "bids_database_dir", Path("TMP/db")),
    ("--skip-bids-validation", "skip_bids_validation", True),
    ("--nprocs 4", "nprocs", 4),
    ("--omp-nthreads 2", "omp_nthreads", 2),
    ("--mem 12.5G", "mem_gb", 12.5),
    ("--low-mem", "low_mem", True),
    ("--device cuda:1", "device", "cuda:1"),
    ("--gpus 1", "gpus", 1),
    ("-w elsewhere", "work_dir", Path("TMP/here/elsewhere")),
    ("--clean-workdir", "clean_workdir", True),
    ("--remove-workdir", "remove_workdir", True),
    ("--level minimal", "level", "minimal"),
    ("--dummy-scans 0", "dummy_scans", 0),
    ("--ignore sbref slicetiming", "ignore", ("sbref", "slicetiming")),
    ("--reference 3", "reference", 3),
    ("--fd-threshold .3", "fd_threshold", 0.3),
    ("--dvars-threshold 2", "dvars_threshold", 2.0),
    ("--fd-radius 35", "fd_radius", 35.0),
    ("--population fetal", "population", "fetal"),
    ("--brain-extraction unimo", "brain_extraction", "unimo"),
    ("--brain-center -12,3.5,4", "brain_center", "-12,3.5,4"),
    ("--tracker spaer", "tracker", "spaer"),
    ("--fusion slerp", "fusion", "slerp"),
    ("--no-refine", "refine", False),
    ("--slices on", "slices", "on"),
    ("--slice-time-ref middle", "slice_time_ref", 0.5),
    ("--deformation epi", "deformation", "epi"),
    ("--no-intensity-correction", "intensity_correction", False),
    ("--output-spaces func X:res-2", "output_spaces", ("func", "X:res-2")),
    ("--template a/t-{age}.nii:m.nii", "template", ("TMP/here/a/t-{age}.nii:TMP/here/m.nii",)),
    ("--use-plugin TMP/plugin.yml", "use_plugin", Path("TMP/plugin.yml")),
    ("--stop-on-first-crash", "stop_on_first_crash", True),
    ("--reports-only", "reports_only", True),
    ("--md-only-boilerplate", "md_only_boilerplate", True),
    ("--write-graph", "write_graph", True),
    ("--aggregate-session-reports 2", "aggregate_session_reports", 2),
    ("--resource-monitor", "resource_monitor", True),
    ("--dry-run", "dry_run", True),
    ("-vv", "verbosity", 2),
    ("--debug", "debug", True),
]


def test_every_option(bids, tmp_path):
    (tmp_path / "masks").mkdir()
    for name in ("filters.json", "plugin.yml"):
        (tmp_path / name).write_text("{}")

    def there(what):
        if isinstance(what, dict):
            return {name: there(one) for name, one in what.items()}
        if isinstance(what, tuple):
            return tuple(map(there, what))
        return type(what)(str(what).replace("TMP", str(tmp_path))) if "TMP" in str(what) else what

    words = [there(word) for said, _, _ in OPTIONS for word in said.split()]
    settings = parsed(bids, *words, "--me-output-echos", "--notrack")
    given = {name: there(value) for _, name, value in OPTIONS}
    assert settings == Settings(bids_dir=bids, out_dir=bids.parent / "out", **given)
    settings.write(tmp_path / "settings.toml")
    assert parse(["--config-file", str(tmp_path / "settings.toml")]) == settings
    unsaid = {one.name for one in fields(Settings)} - given.keys()
    assert unsaid == {"bids_dir", "out_dir", "analysis_level", "boilerplate_only"}


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        (["--participant_label", "01"], "participant_label", ("01",)),
        (["--nthreads", "3"], "nprocs", 3),
        (["--n-cpus=3"], "nprocs", 3),
        (["--mem_mb", "16000"], "mem_gb", 16.0),
        (["--mem", "16GB"], "mem_gb", 16.0),
        (["--mem", "2000000K"], "mem_gb", 2.0),
        (["--reference", "sbref"], "reference", "sbref"),
        (["--fd-spike-threshold", "0.2"], "fd_threshold", 0.2),
        (["--low_mem"], "low_mem", True),
        (["--ignore", "fieldmaps", "slicetiming"], "ignore", ("fieldmaps", "slicetiming")),
        (["--me-output-echos", "--md-only-boilerplate"], "md_only_boilerplate", True),
        (["--dry-run", "--no-dry-run"], "dry_run", False),
        (["--brain_center", "-.5, 3,4"], "brain_center", "-.5,3,4"),
        (["--brain-center", "62,86,28vox"], "brain_center", "62,86,28vox"),
    ],
)
def test_habits_of_other_programs(bids, options, name, value):
    assert getattr(parsed(bids, *options), name) == value


def test_options_of_fmriprep_get_a_sentence(bids, capsys):
    words = ("--fs-no-reconall", "--skull-strip-t1w", "skip", "--output-layout", "bids")
    assert parsed(bids, *words) == parsed(bids)
    notes = capsys.readouterr().err
    assert "--fs-no-reconall does nothing here: no surfaces" in notes
    assert "--skull-strip-t1w does nothing here: anatomical images" in notes
    for words, message in (
        (["--cifti-output", "91k"], "--cifti-output cannot be done: no surfaces"),
        (["--output-layout", "legacy"], "give OUT_DIR/unimo-bids"),
    ):
        assert message in refused(capsys, bids, bids.parent / "out", "participant", *words)


def test_derivatives_are_named_for_their_folders(bids, tmp_path, capsys):
    (tmp_path / "my masks").mkdir()
    (tmp_path / "a=b").mkdir()
    found = parsed(bids, "-d", tmp_path / "my masks", tmp_path / "a=b", f"x={tmp_path / 'a=b'}")
    assert found.derivatives == {
        "my-masks": tmp_path / "my masks",
        "a-b": tmp_path / "a=b",
        "x": tmp_path / "a=b",
    }
    out = (bids, tmp_path / "out", "participant", "-d")
    assert "two datasets are named 'x'" in refused(capsys, *out, "x=/tmp", "x=/")
    assert "'raw' cannot name" in refused(capsys, *out, "raw=/tmp")
    assert "'a/b' cannot name" in refused(capsys, *out, "a/b=/tmp")
    assert "'x=' names no folder" in refused(capsys, *out, "x=")
    assert "no such folder; correct --derivatives" in refused(capsys, *out, tmp_path / "none")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ignore", "sbref", "--reference", "sbref"], "--ignore sbref: --reference sbref asks"),
        (["--ignore", "everything"], "invalid choice: 'everything'"),
        (["--nprocs", "0"], "'0' is not a whole number above 0"),
        (["--mem", "16"], "16 MB, too little to run; give gigabytes as 16G"),
        (["--mem", "lots"], "no amount of memory"),
        (["--fd-threshold", "-0.5"], "not a number above 0"),
        (["--fd-radius", "-1"], "nor 'auto'"),
        (["--dummy-scans", "-1"], "not a whole number from 0 on"),
        (["--reference", "-1"], "nor 'sbref'"),
        (["--device", "gpu"], "none of auto, cpu, cuda"),
        (["--brain-center", "-1,2"], "'-1,2' is no place; give X,Y,Z in mm (RAS), or I,J,Kvox"),
        (
            ["--brain-center", "1,2,3", "--brain-extraction", "epi"],
            "--brain-center: with --brain-extraction epi no place is looked at; leave one",
        ),
        (["--participant-label", "01_02"], "letters and digits only"),
        (["--participant-label"], "expected at least one argument"),
        (["--nproc", "4"], "unknown option --nproc (did you mean --nprocs?);"),
        (["more"], "'more' is one argument too many"),
        (
            ["--nprocs", "2", "--omp-nthreads", "4"],
            "4 processors, all steps together only 2; lower",
        ),
        (["--device", "cpu", "--gpus", "1"], "the device is the CPU; leave it out"),
        (["--device", "cuda:0", "--gpus", "2"], "cuda:0 is one GPU; give --device cuda"),
        (["--reports-only", "--boilerplate-only"], "leave one out"),
        (["--use-plugin", "none.yml"], "none.yml: there is no file that can be read"),
        (["--bids-filter-file", "none.json"], "none.json: there is no such file"),
        (["--config-file", "none.toml"], "none.toml: there is no such file"),
        (
            ["-w", "../raw/work"],
            "work folder lies within the dataset; give another with --work-dir",
        ),
        (["-w", "../out"], "the work folder is the output folder"),
        (["--clean-workdir", "-w", ".."], "holds more than intermediate files"),
        (["--clean-workdir", "-w", "~"], "holds more than intermediate files"),
    ],
)
def test_refusals(bids, options, message, capsys):
    assert message in refused(capsys, bids, bids.parent / "out", "participant", *options)


def test_refusals_about_the_places(bids, tmp_path, capsys):
    out, level = tmp_path / "out", "participant"
    assert "are required: BIDS_DIR" in refused(capsys)
    assert "invalid choice: 'session'" in refused(capsys, bids, out, "session")
    assert "none: there is no such folder" in refused(capsys, tmp_path / "none", out, level)
    assert "no dataset_description.json" in refused(capsys, tmp_path / "here", out, level)
    assert "the path is empty" in refused(capsys, "", out, level)
    proposal = f"{bids}/derivatives/unimo-bids"
    assert f"the dataset itself; give {proposal}" in refused(capsys, bids, bids, level)
    assert "the dataset itself" in refused(capsys, bids, f"{bids}/../raw/.", level)
    (tmp_path / "link").symlink_to(bids)
    assert "the dataset itself" in refused(capsys, bids, tmp_path / "link", level)
    assert "not in its derivatives" in refused(capsys, bids, bids / "sub-01", level)
    (tmp_path / "file").touch()
    assert "file: is a file, not a folder" in refused(capsys, bids, tmp_path / "file", level)
    within = refused(capsys, bids, tmp_path / "file" / "out", level)
    assert f"out: {tmp_path}/file is a file; give a folder" in within
    work = (bids, out, level, "--work-dir")
    sentence = refused(capsys, *work, tmp_path / "file")
    assert "is a file, not a folder; give another with --work-dir" in sentence
    assert "file is a file" in refused(capsys, *work, tmp_path / "file" / "work")
    (bids / "dataset_description.json").write_text("{")
    assert "not valid JSON" in refused(capsys, bids, out, level)
    (bids / "dataset_description.json").write_text("[]")
    assert "not a JSON object" in refused(capsys, bids, out, level)


def test_work_folder_beside_the_dataset_by_default(bids, monkeypatch, capsys):
    monkeypatch.chdir(bids)
    assert "--work-dir" in refused(capsys, bids, bids.parent / "out", "participant")


def test_labels_do_not_swallow_what_follows(bids, capsys):
    sentence = refused(
        capsys, "--participant-label", "01", bids, bids.parent / "out", "participant"
    )
    assert "place BIDS_DIR OUT_DIR and the level before the options" in sentence
    sentence = refused(capsys, "--participant-label", "01", "raw", "out", "participant")
    assert "required: BIDS_DIR, OUT_DIR, analysis_level; place BIDS_DIR OUT_DIR" in sentence


def test_the_level_may_come_last(bids, tmp_path):
    out = tmp_path / "out"
    places = (str(bids), str(out))
    settings = parse([*places, "--debug", "--participant-label", "sub-01", "02", "participant"])
    assert settings.participant_label == ("01", "02") and settings.debug
    settings = parse([*places, "-t", "rest", "group"])
    assert (settings.analysis_level, settings.task_id) == ("group", ("rest",))
    # where the level is said, or an option needs the word, it is what it looks like
    assert parsed(bids, "--participant-label", "01", "group").participant_label == ("01", "group")
    assert parsed(bids, "--work-dir", "group").work_dir == tmp_path / "here" / "group"
    parsed(bids).write(tmp_path / "config.toml")
    config = ("--config-file", str(tmp_path / "config.toml"))
    assert parse([*places, *config, "--run-id", "1", "group"]).analysis_level == "group"
    assert parse([*places, *config, "--task-id", "group"]).task_id == ("group",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "it is a list, not a JSON object"),
        ('{"bold": "rest"}', "not an object of objects"),
        ('{"blod": {}}', "filters 'blod', which is not known"),
        ('{"bold": {"tsk": "rest"}}', "by 'tsk', which is no entity; use one of subject"),
    ],
)
def test_bad_filter_files(bids, tmp_path, capsys, content, message):
    file = tmp_path / "filters.json"
    file.write_text(content)
    argv = (bids, tmp_path / "out", "participant", "--bids-filter-file", file)
    assert message in refused(capsys, *argv)


def test_config_file_gives_defaults(bids, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text(
        'nprocs = 8\nparticipant_label = ["sub-01", "02"]\nfd_radius = 40\ndry_run = true\n'
        f'mem_gb = 12\nlevel = "minimal"\nverbosity = 1\n[derivatives]\nm = "{tmp_path}"\n'
    )
    options = ("--config-file", config)
    settings = parsed(bids, *options)
    assert (settings.nprocs, settings.fd_radius, settings.mem_gb) == (8, 40.0, 12.0)
    assert settings.participant_label == ("01", "02") and settings.derivatives == {"m": tmp_path}
    assert settings.dry_run and settings.level == "minimal" and settings.verbosity == 1
    over = ("--nprocs", "2", "--participant-label", "03", "--no-dry-run", "--level=full", "-vv")
    settings = parsed(bids, *options, *over)
    assert (settings.nprocs, settings.participant_label) == (2, ("03",))
    assert not settings.dry_run and settings.level == "full" and settings.verbosity == 2
    assert settings.fd_radius == 40.0


def test_the_places_win_over_those_of_a_file(bids, tmp_path):
    parsed(bids, "--reference", "5").write(tmp_path / "settings.toml")
    other = parse(
        [str(bids), str(tmp_path / "b"), "--config-file", str(tmp_path / "settings.toml")]
    )
    assert (other.out_dir, other.reference) == (tmp_path / "b", 5)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nprocs = -1", "nprocs = -1: '-1' is not a whole number above 0; correct it"),
        ('nprocs = "four"', "'four' is not a whole number"),
        ("dry_run = 1", "true or false is wanted"),
        ('participant_label = "01"', "a list is wanted"),
        ('derivatives = "x"', "a table of names and paths is wanted"),
        ('derivatives = {raw = "/"}', "'raw' cannot name a dataset"),
        ("notrack = true", "unknown setting 'notrack'"),
        ("nprocs = 2\nomp_nthreads = 3", "all steps together only 2"),
    ],
)
def test_bad_config_files(bids, tmp_path, capsys, line, message):
    config = tmp_path / "config.toml"
    config.write_text(line)
    argv = (bids, tmp_path / "out", "participant", "--config-file", config)
    assert message in refused(capsys, *argv)


@pytest.mark.parametrize(
    ("argv", "code", "text"),
    [
        (["--help"], 0, "--participant-label"),
        (["--version"], 0, f"unimo-bids {version('unimo-bids')}"),
        (["/nowhere", "/out", "participant"], 2, "no such folder"),
        (["--nprocs", "x"], 2, "not a whole number"),
    ],
)
def test_answers_come_at_once(argv, code, text):
    heavy = {"torch", "nipype", "bids", "nilearn", "numpy", "nibabel", "matplotlib", "rich"}
    script = (
        "import sys\nfrom unimo_bids.cli.parser import parse\n"
        f"try: parse()\nfinally: print({heavy} & set(sys.modules))"
    )
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-c", script, *argv], capture_output=True, text=True, check=False
    )
    took = os.times().children_user - before.children_user
    assert done.returncode == code and text in done.stdout + done.stderr
    assert done.stdout.endswith("set()\n")
    # of the processor, so that other work beside does not count; 0.1 s here
    assert took < 1


def test_a_user_without_home(bids, monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 98765)
    assert parsed(bids, "--clean-workdir").clean_workdir

from __future__ import annotations

import subprocess
import sys
import tomllib
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from unimo_bids.errors import InputError, MachineError
from unimo_bids.settings import Settings

FULL = Settings(
    bids_dir=Path("/data/a b é"),
    out_dir=Path("/results"),
    analysis_level="group",
    participant_label=("01", "02"),
    session_label=("a",),
    task_id=("rest",),
    run_id=("1",),
    echo_idx=2,
    bids_filter_file=Path("/f.json"),
    derivatives={"masks": Path("/m"), "a.b": Path('/q"uote')},
    bids_database_dir=Path("/db"),
    skip_bids_validation=True,
    nprocs=4,
    omp_nthreads=2,
    mem_gb=12.5,
    low_mem=True,
    device="cuda:1",
    gpus=1,
    work_dir=Path("/w"),
    clean_workdir=True,
    remove_workdir=True,
    level="minimal",
    dummy_scans=0,
    ignore=("sbref", "t2w"),
    reference=3,
    fd_threshold=0.3,
    dvars_threshold=2.0,
    fd_radius=35.0,
    brain_extraction="unimo",
    brain_center="-12,3,4",
    fusion="slerp",
    refine=False,
    population="fetal",
    random_seed=7,
    use_plugin=Path("/p.yml"),
    stop_on_first_crash=True,
    reports_only=True,
    boilerplate_only=True,
    md_only_boilerplate=True,
    write_graph=True,
    aggregate_session_reports=2,
    resource_monitor=True,
    dry_run=True,
    verbosity=2,
    debug=True,
)
LEAN = Settings(bids_dir=Path("/data"), out_dir=Path("/out"))


def test_the_full_settings_differ_from_the_defaults_everywhere():
    same = [
        one.name for one in fields(Settings) if getattr(FULL, one.name) == getattr(LEAN, one.name)
    ]
    assert same == []  # else the next test would not see it being lost


@pytest.mark.parametrize("settings", [FULL, LEAN])
def test_what_is_written_is_read(settings, tmp_path):
    path = tmp_path / "settings.toml"
    settings.write(path)
    read = Settings.read(path)
    assert read == settings
    for one in fields(Settings):
        assert type(getattr(read, one.name)) is type(getattr(settings, one.name)), one.name


def test_auto_stays_as_given_and_none_is_left_out(tmp_path):
    LEAN.write(tmp_path / "settings.toml")
    written = tomllib.loads((tmp_path / "settings.toml").read_text())
    assert written["device"] == written["reference"] == written["fd_radius"] == "auto"
    assert "nprocs" not in written and "dummy_scans" not in written


def test_frozen():
    with pytest.raises(FrozenInstanceError):
        LEAN.level = "minimal"
    assert LEAN.work_dir == Path.cwd() / "work"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'bids_dir = "/a"\nout_dir = "/b"\nnproc = 3',
            "unknown setting 'nproc'; known are .*nprocs",
        ),
        ("nprocs = ", "not valid TOML"),
        ("nprocs = 2", "does not say bids_dir and out_dir"),
        (b"\xff\xfe", "not valid TOML"),
    ],
)
def test_bad_files_are_refused(tmp_path, text, message):
    path = tmp_path / "settings.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        Settings.read(path)


def test_missing_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        Settings.read(tmp_path / "none.toml")
    with pytest.raises(MachineError):
        Settings.read(tmp_path)


def test_nothing_heavy_is_imported():
    code = "import unimo_bids.settings, sys; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

from __future__ import annotations

import subprocess
import sys
import tomllib
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from unimo_bids.errors import InputError, MachineError
from unimo_bids.settings import Settings, read_values

LEAN = Settings(bids_dir=Path("/data"), out_dir=Path("/out"))


def test_auto_stays_as_given_and_none_is_left_out(tmp_path):
    LEAN.write(tmp_path / "settings.toml")
    written = tomllib.loads((tmp_path / "settings.toml").read_text())
    assert written["device"] == written["reference"] == written["fd_radius"] == "auto"
    assert "nprocs" not in written and "dummy_scans" not in written


def test_frozen():
    with pytest.raises(FrozenInstanceError):
        LEAN.level = "minimal"


@pytest.mark.parametrize(
    ("text", "message"),
    [(b"nproc = 3", "unknown setting 'nproc'; known are .*nprocs"), (b"nprocs = ", "valid TOML"),
     (b"\xff\xfe", "not valid TOML")],
)  # fmt: skip
def test_bad_files_are_refused(tmp_path, text, message):
    (tmp_path / "settings.toml").write_bytes(text)
    with pytest.raises(InputError, match=message):
        read_values(tmp_path / "settings.toml")
    with pytest.raises(InputError, match="no such file"):
        read_values(tmp_path / "none.toml")
    with pytest.raises(MachineError):
        read_values(tmp_path)


def test_nothing_heavy_is_imported():
    code = "import unimo_bids.settings, sys; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

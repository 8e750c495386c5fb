"""What is installed: all that the program reads as it runs, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.system
ROOT = Path(__file__).parents[2]


def test_the_wheel_holds_the_package_with_its_data_and_nothing_else(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(tmp_path)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("unimo_bids-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        scripts = archive.read(next(n for n in archive.namelist() if n.endswith("points.txt")))
    package = [path for path in (ROOT / "unimo_bids").rglob("*") if path.is_file()]
    there = {str(path.relative_to(ROOT)) for path in package if path.suffix != ".pyc"}
    assert held == there
    assert b"unimo-bids = unimo_bids.cli.run:main" in scripts
    assert wheel.stat().st_size < 20e6


def test_a_tag_is_the_version(tmp_path):
    """Also where the commit that bears it is all that was fetched."""
    source, wheels = tmp_path / "source", tmp_path / "wheels"
    subprocess.run(["git", "clone", "-q", "--depth=1", ROOT.as_uri(), source], check=True)
    subprocess.run(["git", "-C", source, "tag", "v0.3.0"], check=True)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", wheels, source]
    subprocess.run(command, check=True, capture_output=True)
    assert [one.name for one in wheels.iterdir()] == ["unimo_bids-0.3.0-py3-none-any.whl"]

"""Real faults, in processes of their own: signals, full disks, missing permissions."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import command

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals and permissions")


def finished(process):
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return process.returncode, out, err.splitlines()[-1]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 143)]
)
def test_signals_leave_nothing(bold, tmp_path, number, code):
    def heard():  # a shell's background jobs are deaf to some signals, and hand that down
        signal.signal(number, signal.SIG_DFL)

    process = command(
        bold,
        tmp_path / "out",
        "--quiet",
        env={**os.environ, "FAKE_SECONDS": "30"},
        preexec_fn=heard,
    )
    assert "estimating" in process.stderr.readline()
    assert any((tmp_path / "out").iterdir())
    process.send_signal(number)
    returned, _, last = finished(process)
    assert returned == code and "nothing was written" in last
    assert not (tmp_path / "out").exists()


@pytest.fixture
def tiny(tmp_path):
    """A disk of 64 KiB, where mounting one is allowed."""
    place = tmp_path / "tiny"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_fills_up(bold, tiny):
    code, _, last = finished(command(bold, tiny / "out", "--quiet"))
    assert code == 1 and "full" in last
    assert not any(tiny.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_results_that_cannot_be_printed(bold, tmp_path):
    prefix = ("sh", "-c", 'exec "$@" >/dev/full', "sh")
    code, _, last = finished(command(bold, tmp_path / "out", "--quiet", prefix=prefix))
    assert code == 1 and last.startswith("error: standard output: it cannot be written")
    assert len(list((tmp_path / "out").iterdir())) == 10


def test_a_folder_that_may_not_be_written(bold, tmp_path, ordinary):
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o555)
    for place in (tmp_path / "out", tmp_path / "out" / "below"):
        code, _, last = finished(command(bold, place, "--quiet", prefix=ordinary))
        assert code == 1 and "permission denied" in last and str(place) in last
    assert not any((tmp_path / "out").iterdir())

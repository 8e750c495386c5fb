"""Where nothing may be written, read or kept: a sentence that says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bids.layouts import dataset
from tests.cli.conftest import save
from unimo_bids.cli import correct

ROOT = Path(__file__).parents[2]


def call(module, *words, prefix=(), cwd=None, **environment):
    return subprocess.run(
        [*prefix, sys.executable, "-m", module, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        cwd=cwd or ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def refused(done, *said):
    last = (done.stderr.splitlines() or [""])[-1]
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert last.startswith("error: ") and all(one in last for one in said), last


@pytest.fixture
def words(tmp_path):
    raw = dataset(tmp_path / "raw", "sub-01_task-rest_bold.nii.gz")
    return [raw, tmp_path / "out", "participant", "--skip-bids-validation"]


def test_the_default_work_folder_cannot_be_written(words, tmp_path, ordinary):
    here = tmp_path / "here"
    here.mkdir(mode=0o555)
    done = call("unimo_bids.cli.run", *words, prefix=ordinary, cwd=here)
    refused(done, f"{here / 'work'}: the work folder cannot be written", "--work-dir")


def test_a_home_that_may_not_be_entered(words, tmp_path, ordinary):
    home = tmp_path / "home"
    home.mkdir(mode=0)
    done = call("unimo_bids.cli.run", *words, "--dry-run", prefix=ordinary, HOME=str(home))
    home.chmod(0o755)
    assert done.returncode == 0 and "sub-01_task-rest" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_too_little_memory(capsys, error):
    def grow():
        raise error

    assert correct.guarded(grow) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: memory: there is not enough") and "ulimit -v" in said


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_results_of_every_command_that_cannot_be_printed(words, tmp_path, data):
    full = ("sh", "-c", 'exec "$@" >/dev/full', "sh")
    volume = save(tmp_path / "volume.nii.gz", data[..., 0])
    said = "standard output: it cannot be written"
    work = ("--work-dir", tmp_path / "work")
    refused(call("unimo_bids.cli.run", *words, *work, "--dry-run", prefix=full), said)
    register = "import sys; from unimo_bids.cli.register import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [*full, sys.executable, "-c", register, volume, volume, tmp_path / "pair", "--no-network",
         "--whole-image"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    refused(done, said)
    assert (tmp_path / "pair_moved.nii.gz").exists()

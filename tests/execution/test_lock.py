import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from unimo_bids.errors import InputError, MachineError
from unimo_bids.execution import lock as module
from unimo_bids.execution.lock import LOCK_FOLDER, locked

pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).parents[2]
HOLD = """
    import sys, time
    from pathlib import Path
    from unimo_bids.execution import lock
    if sys.argv[2] == "without flock":
        lock._flock = lambda descriptor: False
    with lock.locked(["sub-01"], [Path(sys.argv[1])]):
        print("held", flush=True)
        time.sleep(60)
"""


@pytest.fixture(params=["with flock", "without flock"])
def kernel(request, monkeypatch):
    """File systems whose kernel knows who is alive, and those where it does not."""
    if request.param == "without flock":

        def refuse(descriptor, operation):
            raise OSError(errno.ENOSYS, "Function not implemented")

        monkeypatch.setattr(fcntl, "flock", refuse)
    return request.param


@pytest.fixture
def other(tmp_path, kernel):
    """Another program that holds sub-01."""
    command = [sys.executable, "-c", textwrap.dedent(HOLD), str(tmp_path), kernel]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    program = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert program.stdout.readline() == b"held\n"
    yield program
    program.kill()
    program.wait()
    program.stdout.close()


def holder_elsewhere(folder, silent_for):
    """The lock of a program on another machine, last touched some seconds ago."""
    path = folder / LOCK_FOLDER / "sub-01.json"
    path.parent.mkdir()
    elsewhere = {"host": "node17", "boot": "another", "namespace": "pid:[1]", "pid": "4321"}
    path.write_text(json.dumps(elsewhere | {"started": "1.5", "since": "2026-01-02 03:04:05"}))
    then = time.time() - silent_for
    os.utime(path, (then, then))


def test_second_program_is_refused(tmp_path, other):
    with pytest.raises(MachineError) as refusal, locked(["sub-01"], [tmp_path]):
        pass
    said = str(refusal.value)
    assert said.startswith(
        f"{tmp_path}: sub-01 is being worked on there by process {other.pid} on "
    )
    assert said.endswith("wait until it has finished, or work on other participants.")


def test_nothing_is_kept_of_a_refused_request(tmp_path, other):
    with pytest.raises(MachineError), locked(["sub-00", "sub-01"], [tmp_path]):
        pass
    with locked(["sub-00"], [tmp_path]):
        pass


def test_lock_of_a_killed_program_is_taken_over(tmp_path, other):
    other.send_signal(signal.SIGKILL)
    other.wait()
    with locked(["sub-01"], [tmp_path]):
        pass


def test_number_of_a_killed_program_given_to_another(tmp_path, kernel):
    """The process is alive, but it is not the one that took the lock."""
    path = tmp_path / LOCK_FOLDER / "sub-01.json"
    path.parent.mkdir()
    path.write_text(json.dumps(module._myself() | {"started": "12.5", "token": "x"}))
    with locked(["sub-01"], [tmp_path]):
        pass


def test_program_on_another_machine_that_shows_life(tmp_path, kernel):
    holder_elsewhere(tmp_path, silent_for=60)
    with (
        pytest.raises(
            MachineError, match="process 4321 on node17, running since 2026-01-02"
        ) as said,
        locked(["sub-01"], [tmp_path]),
    ):
        pass
    assert "if it was killed, 120 s after its end are enough" in str(said.value)


def test_program_on_another_machine_that_is_silent(tmp_path, kernel):
    holder_elsewhere(tmp_path, silent_for=130)
    with locked(["sub-01"], [tmp_path]):
        pass


def test_holder_shows_life(tmp_path, kernel, monkeypatch):
    monkeypatch.setattr(module, "_SIGN_OF_LIFE_EVERY_S", 0.05)
    path = tmp_path / LOCK_FOLDER / "sub-01.json"
    with locked(["sub-01"], [tmp_path]):
        os.utime(path, (0, 0))
        end = time.monotonic() + 5
        while path.stat().st_mtime == 0:
            assert time.monotonic() < end
            time.sleep(0.02)


@pytest.mark.parametrize("rubbish", ["", "{", "[1]"])
def test_lock_cut_short_is_taken_over(tmp_path, kernel, rubbish):
    path = tmp_path / LOCK_FOLDER / "sub-01.json"
    path.parent.mkdir()
    path.write_text(rubbish)
    with locked(["sub-01"], [tmp_path]):
        pass


def test_nothing_is_left_behind(tmp_path):
    out, work = tmp_path / "out", tmp_path / "work"
    with locked(["sub-01"], [out, work, out]):
        assert (out / LOCK_FOLDER / "sub-01.json").exists()
        assert (work / LOCK_FOLDER / "sub-01.json").exists()
    assert list(out.iterdir()) == list(work.iterdir()) == []


def test_many_at_once_and_only_one_gets_it(tmp_path):
    hold = HOLD.replace("time.sleep(60)", "time.sleep(3)")
    command = [sys.executable, "-c", textwrap.dedent(hold), str(tmp_path), "with flock"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    programs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        for _ in range(6)
    ]
    said = [program.communicate()[0] for program in programs]
    assert said.count(b"held\n") == 1


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError), locked(["sub-01"], [tmp_path / "file"]):
        pass


def test_name_cannot_leave_the_folder(tmp_path):
    with pytest.raises(InputError), locked(["../../sub-01"], [tmp_path]):
        pass

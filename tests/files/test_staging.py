from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unimo_bids.errors import InputError, MachineError
from unimo_bids.files.staging import atomic, staged


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_atomic_writes_whole(tmp_path):
    with atomic(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
        assert temporary.parent == tmp_path and not (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert listed(tmp_path) == ["a.txt"]


def test_atomic_leaves_what_was_there(tmp_path):
    (tmp_path / "a.txt").write_text("before")
    with pytest.raises(KeyboardInterrupt), atomic(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert (tmp_path / "a.txt").read_text() == "before"
    assert listed(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("number", "match"),
    [
        (errno.ENOSPC, "full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission"),
        (errno.EFBIG, "size that is allowed"),
        (errno.ENXIO, "the system reports"),
    ],
)
def test_what_the_system_refuses_is_said(tmp_path, number, match):
    with pytest.raises(MachineError, match=match), atomic(tmp_path / "a.txt"):
        raise OSError(number, os.strerror(number))


def test_staged_files_appear_together(tmp_path):
    folder = tmp_path / "new" / "deep"
    with staged(folder) as stage:
        (stage / "a").write_text("1")
        (stage / "b").write_text("2")
        assert [p.name for p in folder.iterdir()] == [stage.name]
    assert listed(folder) == ["a", "b"]


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(ValueError), staged(tmp_path / "new" / "deep") as stage:
        (stage / "a").write_text("1")
        raise ValueError
    assert listed(tmp_path) == []


def test_a_failing_rename_puts_everything_back(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("former")
    rename = Path.rename

    def failing(self, target):
        if self.name == "b" and target == tmp_path / "b":
            raise OSError(errno.EIO, "broken")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(MachineError, match="input/output"), staged(tmp_path) as stage:
        (stage / "a").write_text("1")
        (stage / "b").write_text("2")
    assert listed(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "former"


def test_names_differ_between_processes_of_one_id(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 7)  # as in two containers
    with atomic(tmp_path / "a.txt") as one, atomic(tmp_path / "a.txt") as other:
        assert one != other
        one.write_text("1")
        other.write_text("2")
    assert listed(tmp_path) == ["a.txt"]


_KILLED = """
import os, signal, sys
from pathlib import Path
from unimo_bids.files.staging import staged
with staged(sys.argv[1]) as stage:
    (stage / "half").write_text("")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def aged(stage: Path, hours: float) -> None:
    then = time.time() - 3600 * hours
    for path in (*stage.rglob("*"), stage):
        os.utime(path, (then, then))


def killed(folder: Path) -> Path:
    subprocess.run([sys.executable, "-c", _KILLED, folder], check=False)
    (stage,) = folder.iterdir()
    return stage


def test_what_a_killed_process_left_goes_after_a_day(tmp_path):
    stage = killed(tmp_path)
    assert (stage / "half").exists()
    aged(stage, 25)
    with staged(tmp_path) as new:
        (new / "a").write_text("1")
    assert listed(tmp_path) == ["a"]


def test_what_may_be_in_use_stays(tmp_path):
    stage = killed(tmp_path)
    aged(stage, 23)
    with staged(tmp_path):
        pass
    aged(stage, 25)
    (stage / "half").write_text("a file that grows does not change its folder's time")
    os.utime(stage, (0, 0))
    with staged(tmp_path):
        pass
    assert listed(tmp_path) == [stage.name]


def test_files_of_the_users_are_not_removed(tmp_path):
    stage = tmp_path / ".unimo-killed"
    (stage / ".former").mkdir(parents=True)
    (stage / ".former" / "a").write_text("the user's")
    aged(stage, 100)
    with staged(tmp_path):
        pass
    assert (stage / ".former" / "a").exists()


def test_only_its_own_folders_are_removed(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a").write_text("")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / ".unimo-link").symlink_to(elsewhere)
    (folder / ".unimo-file").write_text("")
    os.utime(folder / ".unimo-file", (0, 0))
    os.utime(folder / ".unimo-link", (0, 0), follow_symlinks=False)
    with staged(folder):
        pass
    assert listed(folder) == [".unimo-file", ".unimo-link"] and listed(elsewhere) == ["a"]


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="file"), staged(place):
            pass

"""Where programs must work too: as nobody, offline, in a container, on a full disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.system import apart, study
from tests.system.apart import NOBODY, python_for_others

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]


def allowed(*command: str) -> bool:
    try:
        return subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def test_a_user_without_name_home_or_network(done, undisturbed, tmp_path_factory):
    """Read-only input, spaces and letters of all alphabets in the paths; the result is the same."""
    if not allowed("unshare", "--net") or not allowed("setpriv", f"--reuid={NOBODY}"):
        pytest.skip("needs root's rights, unshare and setpriv")
    become = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    program = (python_for_others(become), "-m", "unimo_bids.cli.run")
    # nobody may look into the folders of root's tests
    base = Path(f"/var/tmp/unimo test ü {os.getpid()}")
    place = base / "Ägypten 脳"
    place.mkdir(parents=True)
    try:
        for folder in (base, place):
            folder.chmod(0o755)
        shutil.copytree(done.raw, place / "raw data é")
        shutil.copytree(done.masks, place / "masks")
        (place / "mine").mkdir()
        (place / "home").mkdir(mode=0o555)
        os.chown(place / "mine", NOBODY, NOBODY)
        for entry in (place / "raw data é").rglob("*"):
            entry.chmod(0o555 if entry.is_dir() else 0o444)
        (place / "raw data é").chmod(0o555)
        for number, home in enumerate((None, str(place / "home"))):
            env = study.environment()
            for name in ("HOME", "USER", "LOGNAME", "USERNAME"):
                env.pop(name, None)
            env["PYTHONPATH"] = f"{Path(study.__file__).parents[2]}:{sysconfig.get_path('purelib')}"
            if home:
                env["HOME"] = home
            out = place / "mine" / f"ergebnisse ñ {number}"
            words = (place / "raw data é", out, "participant")
            finished = study.call(
                *words, "--derivatives", f"masks={place / 'masks'}", "--participant-label", "02",
                "--work-dir", place / "mine" / f"w {number}", "--skip-bids-validation",
                prefix=("unshare", "--net", *become), program=program, env=env, cwd=place,
            )  # fmt: skip
            assert finished.code == 0, finished.err
            assert study.digests(out, "sub-02/") == undisturbed
            assert finished.out.splitlines()[-1] == str(out / "sub-02.html")
            assert (out / "sub-02.html").stat().st_uid == NOBODY
        assert list((place / "home").iterdir()) == []
    finally:
        shutil.rmtree(base)


def test_as_in_a_container(done, undisturbed, tmp_path):
    """Read-only root, foreign user, umask 077, small /tmp; and nothing is written at home."""
    if apart.lacking():
        pytest.skip(f"not installed: {', '.join(apart.lacking())}")
    if not allowed("bwrap", "--ro-bind", "/", "/", "--unshare-net", "--"):
        pytest.skip("this user or kernel may not mount a root of its own")
    python = python_for_others(("setpriv", f"--reuid={NOBODY}", "--clear-groups"))
    sources = Path(study.__file__).parents[2]
    read = {sources: str(sources), done.raw: "/tmp/raw", done.masks: "/tmp/masks"}
    out, work, home = (apart.give(tmp_path / name) for name in ("out", "work", "home"))
    written = {out: "/tmp/out", work: "/tmp/work", home: "/tmp/home"}
    env = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp/home",
        "LANG": "C.UTF-8",
        "PYTHONPATH": f"{sources}:{sysconfig.get_path('purelib')}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    finished = study.call(
        "/tmp/raw", "/tmp/out", "participant", "--derivatives", "masks=/tmp/masks",
        "--participant-label", "02", "--work-dir", "/tmp/work", "--skip-bids-validation",
        prefix=apart.inside(Path("/"), read, written, env),
        program=(python, "-m", "unimo_bids.cli.run"),
    )  # fmt: skip
    assert finished.code == 0, finished.err
    assert study.digests(out, "sub-02/") == undisturbed
    assert (out / "sub-02.html").stat().st_mode & 0o077 == 0
    assert list(home.iterdir()) == []


@pytest.fixture(params=["out", "work"])
def full(request, tmp_path):
    """A disk of 600 kB, for the results or for what lies between; mounted there."""
    place = tmp_path / request.param
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk(done, one, undisturbed, full, tmp_path):
    words = (done.raw, tmp_path / "out", "participant", *one, "--work-dir", tmp_path / "work")
    finished = study.call(*words)
    assert finished.code == 1, finished.err
    assert "full" in finished.last, finished.err
    assert "Traceback" not in finished.err
    # nothing is half there
    for path, digest in study.digests(tmp_path / "out", "sub-02/").items():
        assert undisturbed[path] == digest
    subprocess.run(["mount", "-o", "remount,size=60m", str(full)], check=True)
    finished = study.call(*words)
    assert finished.code == 0, finished.err
    assert study.digests(tmp_path / "out", "sub-02/") == undisturbed

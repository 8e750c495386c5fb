"""As in a container of a cluster: the root cannot be written, and the user is nobody it knows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

NOBODY = 61234
TEMPORARY_MB = 32
PROGRAMS = ("bwrap", "setpriv")


def lacking() -> list[str]:
    return [name for name in PROGRAMS if shutil.which(name) is None]


def give(folder: Path) -> Path:
    """A folder that nobody but the foreign user may enter."""
    folder.mkdir()
    folder.chmod(0o700)
    shutil.chown(folder, NOBODY, NOBODY)
    return folder


def inside(
    root: Path, read: Mapping[Path, str], written: Mapping[Path, str], env: Mapping[str, str]
) -> tuple[str, ...]:
    """Words to put before a command: Apptainer's ways, and no name, network or large /tmp.

    Parameters
    ----------
    root
        What is mounted as the root.
    read, written
        Folders by the places they are mounted at.
    env
        All that the environment has.
    """
    shared = ("--perms", "1777", "--size", str(TEMPORARY_MB << 20), "--tmpfs")
    words = ["bwrap", "--ro-bind", str(root), "/", "--proc", "/proc", "--dev", "/dev"]
    words += [*shared, "/tmp", *shared, "/dev/shm"]
    for option, places in (("--ro-bind", read), ("--bind", written)):
        for folder, place in places.items():
            words += [option, str(folder), place]
    words += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--chdir", "/tmp", "--clearenv"]
    for name, value in env.items():
        words += ["--setenv", name, value]
    become = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs")
    words += ["--", "setpriv", *become, "sh", "-c", 'umask 077; exec "$@"', "sh"]
    return tuple(words)


def python_for_others(become):
    """This Python, or the system's of the same version where this one lies in root's home.

    The kernel lets nobody but root take another user's name, and no other user read what lies in
    root's home: where either stands in the way, there is no stranger to run the program. Root who
    has Debian's Python, as in CI, runs the test.
    """
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can become another user")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, shutil.which(version, path="/usr/bin:/usr/local/bin")):
        test = "import os, sys; sys.exit(not os.access(os.path.realpath(sys.executable), os.X_OK))"
        if python and subprocess.run([*become, python, "-c", test], check=False).returncode == 0:
            return python
    return pytest.skip("no Python here can be run by other users")

"""One program at a time for each participant of an output folder, or of a work folder.

Jobs of an array, each with its participant, share their folders: so what is locked is not a folder
but a participant in it. Programs are killed, and leave their locks: so a lock counts only as long
as its holder lives. On one machine the kernel knows that, and says so across containers: it drops
the holder's ``flock``. On others, holders are known by touching their lock every few seconds.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from unimo_bids.errors import InputError, MachineError
from unimo_bids.files.staging import machine_error

LOCK_FOLDER = ".locks"

_SIGN_OF_LIFE_EVERY_S = 15.0
# a busy file server may keep a sign back for a minute
_DEAD_AFTER_S = 120.0
_UNKNOWN_TO_FILE_SYSTEM = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL}


@contextlib.contextmanager
def locked(participants: Iterable[str], folders: Iterable[Path]) -> Iterator[None]:
    """Lock participants of some folders for this process, or refuse.

    Parameters
    ----------
    participants
        Their labels, or any other name for what no two programs may do at once (``group``).
    folders
        Output and work folder; made if they do not exist.

    Raises `MachineError`: a living program holds one of them; it says which, where, and since when.
    """
    with contextlib.ExitStack() as held:
        for folder in sorted({folder.resolve() for folder in folders}):
            for name in sorted(set(participants)):
                held.enter_context(_Lock(folder, name))
        yield


class _Lock:
    """One participant in one folder: a hidden file that says who holds it."""

    def __init__(self, folder: Path, name: str) -> None:
        if Path(name).name != name:
            raise InputError(folder, f"'{name}' cannot be the name of a lock", "use plain labels")
        self._folder, self._name = folder, name
        self._path = folder / LOCK_FOLDER / f"{name}.json"
        self._token = uuid.uuid4().hex
        self._released = threading.Event()

    def __enter__(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            while not self._take():
                pass
        except OSError as error:
            raise machine_error(self._path, error) from error
        threading.Thread(target=self._show_life, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._released.set()
        with contextlib.suppress(OSError):
            if self._is_ours():
                self._path.unlink()
        self._file.close()
        with contextlib.suppress(OSError):  # others hold locks there
            self._path.parent.rmdir()

    def _take(self) -> bool:
        """Take the lock, or refuse; False if its file has gone meanwhile."""
        self._file = os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666), "r+")
        try:
            kernel_knows = _flock(self._file.fileno())
            try:
                gone = not os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
            except FileNotFoundError:
                gone = True
            if gone:
                self._file.close()
                return False
            holder = self._holder()
            if kernel_knows is None or (holder and self._lives(holder, kernel_knows)):
                raise self._refusal(holder)
            self._file.seek(0)
            self._file.truncate()
            json.dump(_myself() | {"token": self._token}, self._file)
            self._file.flush()
            if not kernel_knows:
                time.sleep(1.0)  # of two that came at once, the one who wrote last has it
                if not self._is_ours():
                    raise self._refusal(self._holder())
        except BaseException:
            self._file.close()
            raise
        return True

    def _holder(self) -> dict[str, str]:
        """Process that wrote the file; empty if it was killed before."""
        try:
            said = json.loads(self._path.read_text())
        except (ValueError, FileNotFoundError):
            return {}
        return {key: str(value) for key, value in said.items()} if isinstance(said, dict) else {}

    def _is_ours(self) -> bool:
        return self._holder().get("token") == self._token

    def _lives(self, holder: dict[str, str], kernel_knows: bool) -> bool:
        """Whether a holder without a visible ``flock`` is alive."""
        me = _myself()
        if holder.get("boot") == me["boot"]:
            if kernel_knows:
                return False
            if holder.get("namespace") == me["namespace"]:
                return _started(holder.get("pid", "")) == holder.get("started")
        return self._silent_for() < _DEAD_AFTER_S

    def _silent_for(self) -> float:
        """Seconds since the holder touched its lock, by the clock of the file server."""
        probe = self._path.with_name(f".{self._token}")
        probe.touch()
        try:
            return probe.stat().st_mtime - self._path.stat().st_mtime
        finally:
            probe.unlink()

    def _show_life(self) -> None:
        while not self._released.wait(_SIGN_OF_LIFE_EVERY_S):
            with contextlib.suppress(OSError, ValueError):  # ValueError: closed meanwhile
                os.utime(self._file.fileno())

    def _refusal(self, holder: dict[str, str]) -> MachineError:
        remedy = "wait until it has finished, or work on other participants"
        if holder.get("boot") != _myself()["boot"]:
            remedy += f" (if it was killed, {_DEAD_AFTER_S:.0f} s after its end are enough)"
        who = (
            f"process {holder.get('pid', '?')} on {holder.get('host', '?')}, "
            f"running since {holder.get('since', '?')}"
        )
        return MachineError(self._folder, f"{self._name} is being worked on there by {who}", remedy)


def _flock(descriptor: int) -> bool | None:
    """Whether the kernel gave us the file: None if it is taken, False if it cannot tell here."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno not in _UNKNOWN_TO_FILE_SYSTEM:
            raise
        return False
    return True


def _myself() -> dict[str, str]:
    """Identity of this process among all on this machine and others."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        boot = namespace = socket.gethostname()
    me = psutil.Process()
    since = datetime.datetime.fromtimestamp(me.create_time()).astimezone()
    return {
        "host": socket.gethostname(),
        "boot": boot,  # containers on one machine share it, whatever they call themselves
        "namespace": namespace,
        "pid": str(me.pid),
        "started": str(me.create_time()),
        "since": since.isoformat(sep=" ", timespec="seconds"),
    }


def _started(pid: str) -> str | None:
    """When a process began; None if there is none."""
    try:
        return str(psutil.Process(int(pid)).create_time())
    except (psutil.Error, ValueError):
        return None

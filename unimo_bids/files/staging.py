"""Outputs appear whole or not at all: a temporary name in the same folder, then a rename."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from unimo_bids.errors import InputError, MachineError

_FULL = ("the disk or your quota on it is full", "free some space or write somewhere else")
_TROUBLE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: (
        "the file grew beyond the size that is allowed",
        "raise the limit (ulimit -f) or write to another file system",
    ),
    errno.EACCES: ("permission denied", "change the permissions or choose another place"),
    errno.EPERM: ("permission denied", "change the permissions or choose another place"),
    errno.EROFS: ("the file system is read-only", "choose a place that can be written"),
    errno.EIO: ("the disk reports an input/output error", "check the disk and try again"),
    errno.EMFILE: ("too many open files", "raise the limit (ulimit -n)"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter name"),
}


def machine_error(path: str | Path, error: OSError) -> MachineError:
    """Explain to users why the operating system refused access to a file."""
    unknown = (f"the system reports: {error.strerror or error}", "check the place and try again")
    return MachineError(path, *_TROUBLE.get(error.errno or 0, unknown))


_STAGE = ".unimo-"
_FORMER = ".former"
STALE_S = 86_400.0


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Write a file whole or not at all.

    Yields
    ------
    Path
        A temporary name in the same folder. When the block ends well, it is flushed to disk and
        takes the place of ``path``; when it fails, it is removed.
    """
    path = Path(path)
    # random: on a shared file system, containers of two nodes may have the same process id
    temporary = path.with_name(f"{_STAGE}{secrets.token_hex(4)}-{path.name}")
    try:
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise machine_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_free(paths: Iterable[Path], inputs: Iterable[Path | None], overwrite: bool) -> None:
    """Refuse outputs that would replace an input, or anything unless that is wanted."""
    given = [path for path in inputs if path is not None and path.exists()]
    for path in (one for one in paths if one.exists()):
        if any(path.samefile(one) for one in given):
            finding = "this input would be overwritten by an output of the same name"
            raise InputError(path, finding, "choose another name or folder")
        if not overwrite:
            remedy = "give --overwrite, or another name or folder"
            raise InputError(path, "this output exists already", remedy)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all, and make its folder unless it is there."""
    make_folder(Path(path).parent)
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def make_folder(folder: Path, *, new: bool = False) -> None:
    """Make a folder, and those it lies in; a `new` one must not be there."""
    try:
        folder.mkdir(parents=True, exist_ok=not new)
    except OSError as error:
        raise machine_error(folder, error) from error


def remove_unfinished(folder: Path, name: str = "*", *, older_than_s: float = 0.0) -> None:
    """Remove what programs that were killed outright (``kill -9``) were writing by `atomic`.

    Parameters
    ----------
    folder
        Where; not in folders within it.
    name
        What the files would have been called, with wildcards. Nobody may be writing them now,
        unless ``older_than_s`` is so long that it would have ended.
    older_than_s
        Time since something was written last.
    """
    for path in folder.glob(f"{_STAGE}{'[0-9a-f]' * 8}-{name}"):
        with contextlib.suppress(OSError):
            if path.lstat().st_mtime <= time.time() - older_than_s:
                path.unlink()


@contextlib.contextmanager
def staged(folder: str | Path) -> Iterator[Path]:
    """Publish all outputs of a call together, or none.

    Yields
    ------
    Path
        A hidden folder inside ``folder`` (so that a rename suffices). When the block ends well,
        its files move to ``folder``; when it fails, nothing is left of them, files that were
        there before are as they were, and folders made for this are gone again. What a process
        killed outright (``kill -9``) leaves is removed by the first to come a day later.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(folder, "is a file, not a folder", "give a folder for the outputs")
    made = _make(folder)
    stage = None
    try:
        try:
            _remove_stale(folder)
            stage = Path(tempfile.mkdtemp(prefix=_STAGE, dir=folder))
            yield stage
            _publish(stage, folder)
        except OSError as error:
            # what is being written lives under a name the user has never seen
            raise machine_error(folder, error) from error
    except BaseException:
        _remove(stage)
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise
    _remove(stage)


def _make(folder: Path) -> list[Path]:
    """Make a folder and its parents; returns the new ones, innermost first."""
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (NotADirectoryError, FileExistsError) as error:
        remedy = "give a folder for the outputs"
        raise InputError(folder, "a part of this path is a file", remedy) from error
    except OSError as error:
        raise machine_error(folder, error) from error
    return new


def _remove(stage: Path | None) -> None:
    if stage is not None:
        shutil.rmtree(stage, ignore_errors=True)


def _remove_stale(folder: Path) -> None:
    """Remove the hidden folders of processes that were killed.

    Their age tells, not their owner's process id: that means nothing on another node or in another
    container. A folder in which nothing was written for a day belongs to nobody. One that holds
    files of the user's, moved aside while they were replaced, is left to the user.
    """
    for stage in folder.glob(f"{_STAGE}*"):
        with contextlib.suppress(OSError):  # it may be another user's, or vanish
            inside = [stage, *stage.rglob("*")]
            latest = max(path.lstat().st_mtime for path in inside)
            aside = any(path.parent.name == _FORMER for path in inside)
            if latest < time.time() - STALE_S and stage.is_dir() and not aside:
                _remove(stage)


def _publish(stage: Path, folder: Path) -> None:
    """Move all files of one folder into another; put everything back if one will not go."""
    names = sorted(entry.name for entry in stage.iterdir())
    former = stage / _FORMER
    former.mkdir()
    undo: list[tuple[Path, Path]] = []
    try:
        for name in names:
            if (folder / name).exists():
                (folder / name).rename(former / name)
                undo.append((former / name, folder / name))
            (stage / name).rename(folder / name)
            undo.append((folder / name, stage / name))
    except BaseException:
        for now, before in reversed(undo):
            with contextlib.suppress(OSError):
                now.rename(before)
        raise

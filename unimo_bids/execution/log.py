"""The log of a run: one file for each participant, and as much on the terminal as was asked for."""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.logging import RichHandler

from unimo_bids.execution.naming import participant
from unimo_bids.files.staging import machine_error, make_folder

LOG_NAME = "unimo-bids.log"

_NIPYPE = ("nipype.workflow", "nipype.utils", "nipype.filemanip", "nipype.interface")
_FORMAT = "%(asctime)s %(levelname)-7s %(name)s%(where)s: %(message)s"


def prepare_environment() -> None:
    """Set what nipype and its company read when they are imported: call it before that.

    - No telemetry: nipype would ask a server for its latest version.
    - No ``~/.nipype/nipype.cfg``: a user's own settings of nipype would change what we do.
    - No ``~/.config/matplotlib`` either, and nothing is written at home. Containers run as any
      user, often without a name and a home that can be written: then Matplotlib would warn in
      every process, and make a folder of its own for each.
    """
    os.environ["NO_ET"] = os.environ["NIPYPE_NO_ET"] = "1"
    os.environ["NIPYPE_CONFIG_DIR"] = os.devnull
    os.environ.setdefault("LOGNAME", user_name())  # nipype's plugins for clusters need it
    home = os.path.expanduser("~")  # noqa: PTH111 - Path's fails without a home
    with contextlib.suppress(OSError):  # there may be no temporary folder either
        cache = Path(tempfile.gettempdir()) / f"unimo-bids-{os.getuid()}"
        cache.mkdir(mode=0o700, exist_ok=True)
        if cache.stat().st_uid == os.getuid():  # anyone may make this name in /tmp
            os.environ.setdefault("MPLCONFIGDIR", str(cache))
            # PyBIDS looks for its settings at home, and ends where it may not
            if home == "~" or (os.path.lexists(home) and not os.access(home, os.X_OK)):
                os.environ["HOME"] = str(cache)


def user_name() -> str:
    """Say whose process this is; in a container, users often have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid{os.getuid()}"


def nipype_settings(*, stop_on_first_crash: bool = False) -> dict[str, Any]:
    """Settings of nipype for ``workflow.config["execution"]``."""
    return {
        # A node is done if its inputs are the same files as before: same time and size. Nobody
        # touches the work folder of a killed run, so it goes on where it stopped; and a changed
        # input, having a new time, is never missed. "content" would read every 4D file again
        # for each node it enters, in the one process that hands out the work.
        "hash_method": "timestamp",
        # or a node would be run again when the one behind it wants another of its outputs
        "remove_unnecessary_outputs": "false",
        "stop_on_first_crash": str(stop_on_first_crash).lower(),
        "crashfile_format": "txt",
        "create_report": "false",  # a folder for each node, and no one reads it
        "poll_sleep_duration": "0.2",  # nodes take seconds; looking takes a millisecond
        "job_finished_timeout": "30",  # for a result to show up on a network file system
        "check_version": "false",
    }


@contextlib.contextmanager
def run_log(
    folders: Mapping[str, Path], *, verbosity: int = 0, console: Console | None = None
) -> Iterator[None]:
    """Write what is logged, and all warnings, to files and to the terminal.

    Parameters
    ----------
    folders
        Where the log of each participant goes (``{"sub-01": OUT_DIR/sub-01/log/<uuid>}``). What
        no participant's node has said goes to all of them.
    verbosity
        For the terminal: 0 our own warnings, 1 what we do and all warnings, 2 what nipype does
        too, 3 everything (then the files get everything too).
    console
        Where the terminal's part goes; it has to be the one that shows the progress.
    """
    level = logging.DEBUG if verbosity >= 3 else logging.INFO
    handlers: list[logging.Handler] = []
    try:
        for label, folder in folders.items():
            handlers.append(_log_file(folder, label))
    except BaseException:
        for handler in handlers:
            handler.close()
        raise
    terminal = RichHandler(console=console or Console(stderr=True), show_path=False)
    terminal.addFilter(lambda record: _worth_showing(record, verbosity))
    root = logging.getLogger()
    before = root.level
    for handler in (*handlers, terminal):
        root.addHandler(handler)
    root.setLevel(level)
    route_nipype(level)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.setLevel(before)
        for handler in (*handlers, terminal):
            root.removeHandler(handler)
            handler.close()


def route_nipype(level: int) -> None:
    """Let nipype and Python's warnings speak through the root logger only."""
    logging.getLogger("nipype").handlers.clear()  # it prints to stdout as soon as it is imported
    for name in _NIPYPE:
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)


class _LogFile(logging.FileHandler):
    """A log on a full disk neither stops the run nor fills the terminal."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing."""

    def close(self) -> None:
        with contextlib.suppress(OSError):  # it tries to write what it could not write before
            super().close()


def _log_file(folder: Path, label: str) -> logging.Handler:
    path = folder / LOG_NAME
    make_folder(folder)
    try:
        handler = _LogFile(path, encoding="utf-8")
    except OSError as error:
        raise machine_error(path, error) from error
    handler.addFilter(lambda record: participant(getattr(record, "node", "")) in ("", label))
    handler.setFormatter(_Formatter(_FORMAT))
    return handler


class _Formatter(logging.Formatter):
    """Adds the node that has spoken."""

    def format(self, record: logging.LogRecord) -> str:
        node = getattr(record, "node", "")
        record.where = f" [{node}]" if node else ""
        return super().format(record)


def _worth_showing(record: logging.LogRecord, verbosity: int) -> bool:
    ours = record.name.startswith("unimo_bids")
    if verbosity == 0:
        return ours and record.levelno >= logging.WARNING
    if verbosity == 1:
        return record.levelno >= (logging.INFO if ours else logging.WARNING)
    return verbosity >= 3 or record.levelno >= logging.INFO

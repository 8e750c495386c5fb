"""The two ways a run can be refused: the input is wrong, or the machine is."""

from __future__ import annotations

from pathlib import Path

from unimo_bids import exits


class UnimoError(Exception):
    """A refusal in one sentence: the file, what was found, what to do.

    Parameters
    ----------
    path
        The file or folder the finding is about.
    finding
        What is wrong with it, without a full stop.
    remedy
        What the user can do about it, without a full stop.
    """

    exit_code = exits.FAILED

    def __init__(self, path: str | Path, finding: str, remedy: str) -> None:
        super().__init__(f"{path}: {finding}; {remedy}.")
        self.path = Path(path)


class InputError(UnimoError):
    """The data cannot be used as they are (exit code 2)."""

    exit_code = exits.BAD_INPUT


class MachineError(UnimoError):
    """The machine does not allow it: permissions, disk, memory, device (exit code 1)."""

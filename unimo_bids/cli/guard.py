"""Every way in which a command can end: one sentence, one exit code."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from types import FrameType

from unimo_bids import exits
from unimo_bids.errors import MachineError, UnimoError
from unimo_bids.files.staging import machine_error

# as torch, the loader of libraries, threads and C++ say it
_NO_MEMORY = (
    "can't allocate memory",
    "failed to map segment",
    "annot allocate memory",
    "can't start new thread",
    "bad_alloc",
)


class Terminated(BaseException):
    """The process was asked to end (SIGTERM, SIGHUP); raised so that files are tidied up."""


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Around imports that take seconds: what they make stays, none of it is looked at as garbage.

    Looking took an eighth of the time of PyTorch's and scipy's imports.
    """
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.freeze()
            gc.enable()


def guarded(
    action: Callable[[], int | None], debug: bool = False, left: str = "nothing was written"
) -> int:
    """Run an action; print one sentence for any failure, and return the exit code.

    Parameters
    ----------
    action
        Gives the exit code; None where it is done.
    left
        What is there when the action was interrupted.
    """
    # read when torch and numpy are imported: threads that wait for work, as those of numpy's
    # products do, would else take all of a processor
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        with _ending_politely():
            return action() or exits.DONE
    except KeyboardInterrupt:
        return _failed(f"interrupted; {left}", exits.INTERRUPTED, debug)
    except Terminated:
        return _failed(f"terminated; {left}", exits.TERMINATED, debug)
    except UnimoError as error:
        return _failed(f"error: {error}", error.exit_code, debug)
    except Exception as error:
        refusal = _machine_trouble(error)
        if refusal is not None:
            return _failed(f"error: {refusal}", refusal.exit_code, debug)
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return _failed(
            f"unexpected: {what}; re-run with --debug and report it.", exits.FAILED, debug
        )


def _failed(sentence: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(sentence, file=sys.stderr)
    return code


def _machine_trouble(error: Exception) -> MachineError | None:
    """Recognise errors of the machine: system calls, exhausted memory, a failing GPU."""
    text = str(error)
    if "CUDA" in text or type(error).__name__ in ("OutOfMemoryError", "AcceleratorError"):
        finding = "the graphics card failed: " + (text.strip().splitlines() or ["no reason"])[0]
        return MachineError("--device", finding.rstrip("."), "try --device cpu")
    if isinstance(error, MemoryError) or any(sign in text for sign in _NO_MEMORY):
        remedy = "run on a machine with more, or raise the limit (ulimit -v, or the job's)"
        return MachineError("memory", "there is not enough memory", remedy)
    if "No usable temporary directory" in text:
        finding = "there is none that can be written"
        return MachineError("temporary folder", finding, "set TMPDIR to a folder that can be")
    if isinstance(error, OSError) and error.errno is not None:
        return machine_error(error.filename or "a file", error)
    return None


@contextlib.contextmanager
def _ending_politely() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into an exception, so that what is half-written is removed."""

    def end(number: int, interrupted: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)

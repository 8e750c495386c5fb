"""`unimo-correct`: head-motion correction of one file, without BIDS."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, get_args

from unimo_bids.cli.arguments import (
    add_center,
    add_machine,
    add_network,
    add_population,
    frame,
    joined,
    positive,
)
from unimo_bids.cli.printing import say
from unimo_bids.cli.progress import progress
from unimo_bids.errors import MachineError, UnimoError
from unimo_bids.files.staging import machine_error
from unimo_bids.words import FileBrainMethod, Interpolation

if TYPE_CHECKING:
    from unimo_bids.cli.correction import Corrected, Options

# as torch, the loader of libraries, threads and C++ say it
_NO_MEMORY = (
    "can't allocate memory",
    "failed to map segment",
    "annot allocate memory",
    "can't start new thread",
    "bad_alloc",
)
INTERRUPTED, TERMINATED = 130, 143  # 128 + signal, as shells count


class Terminated(BaseException):
    """The process was asked to end (SIGTERM, SIGHUP); raised so that files are tidied up."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns
    -------
    int
        0 done (also with frames flagged as lost), 1 the machine did not allow it, 2 bad input.
    """
    arguments = _parser().parse_args(joined(sys.argv[1:] if argv is None else argv))
    return guarded(lambda: _run(arguments), debug=arguments.debug)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unimo-correct",
        description="Correct head motion in one 4D fMRI series. One cubic resampling from the raw "
        "data; transforms, uncertainty, a flag per frame and a picture beside it.",
        epilog="Exit codes: 0 done (frames that could not be registered are flagged, not fatal), "
        "1 the machine did not allow it, 2 the input cannot be used.",
    )
    parser.add_argument("input", metavar="IN.nii[.gz]", type=Path, help="the 4D series")
    parser.add_argument("out_dir", metavar="OUT_DIR", type=Path, help="folder for the outputs")
    parser.add_argument(
        "--mask",
        metavar="FILE",
        type=Path,
        help="brain mask on the series' grid: 3D of the reference frame, or 4D, one per frame",
    )
    parser.add_argument(
        "--brain-extraction",
        choices=get_args(FileBrainMethod),
        default="auto",
        help="how the brain is found without a mask: unimo, trained networks; epi, intensity and "
        "shape, for a head in air; auto, the better of both (default); none, motion is that of all "
        "tissue in view",
    )
    add_center(parser)
    add_population(parser)
    add_network(parser)
    parser.set_defaults(fusion="information")
    parser.add_argument(
        "--reference",
        metavar="N|auto",
        type=frame,
        default="auto",
        help="frame whose pose is the identity, counted from 0 (default: auto, a still one)",
    )
    parser.add_argument("--interpolation", choices=get_args(Interpolation), default="cubic")
    parser.add_argument(
        "--prefix", metavar="NAME", help="how output names begin (default: the input's name)"
    )
    parser.add_argument("--no-figure", dest="figure", action="store_false", help="draw no PNG")
    parser.add_argument(
        "--fd-radius",
        metavar="MM",
        type=positive,
        default=50.0,
        help="millimetres per radian in framewise displacement (default: 50; newborn 35)",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="no progress, only warnings and results"
    )
    add_machine(parser, threads="1, from 200 frames on all")
    return parser


def _run(arguments: argparse.Namespace) -> None:
    from unimo_bids.cli.correction import Options

    options = {
        key: value for key, value in vars(arguments).items() if key not in ("quiet", "debug")
    }
    print_result(run(Options(**options), arguments.quiet))


def run(options: Options, quiet: bool = False) -> Corrected:
    """Correct a file, showing progress and then the warnings."""
    # torch takes two seconds: not before the arguments are known to be good
    from unimo_bids.cli.correction import correct_file

    with progress(quiet) as report:
        done = correct_file(options, report)
    for warning in done.summary["warnings"]:
        print(f"warning: {options.input}: {warning}", file=sys.stderr)
    return done


def print_result(done: Corrected, also: Sequence[Path] = ()) -> None:
    """Print what came out, the paths last (and those of other files)."""
    from unimo_bids.cli.correction import described

    say(*described(done.summary), *also, *done.paths.values())


def guarded(
    action: Callable[[], None], debug: bool = False, left: str = "nothing was written"
) -> int:
    """Run an action; turn every way to fail into one sentence and an exit code.

    Parameters
    ----------
    left
        What is there when the action was interrupted.
    """
    # read when torch and numpy are imported: threads that wait for work, as those of numpy's
    # products do, would else take all of a processor
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        with _ending_politely():
            action()
    except KeyboardInterrupt:
        return _failed(f"interrupted; {left}", INTERRUPTED, debug)
    except Terminated:
        return _failed(f"terminated; {left}", TERMINATED, debug)
    except UnimoError as error:
        return _failed(f"error: {error}", error.exit_code, debug)
    except Exception as error:
        refusal = _machine_trouble(error)
        if refusal is not None:
            return _failed(f"error: {refusal}", refusal.exit_code, debug)
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return _failed(f"unexpected: {what}; re-run with --debug and report it.", 1, debug)
    return 0


def _failed(sentence: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(sentence, file=sys.stderr)
    return code


def _machine_trouble(error: Exception) -> MachineError | None:
    """Recognise what the system refuses, exhausted memory and a failing graphics card."""
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


if __name__ == "__main__":
    sys.exit(main())

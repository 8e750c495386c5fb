"""Print results, also where nobody can read them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from unimo_bids.errors import MachineError

if TYPE_CHECKING:
    from unimo_bids.app.outcome import Outcome


def tell(outcome: Outcome) -> int:
    """Print how a call of the app ended; its exit code."""
    for complaint in outcome.complaints:
        print(complaint, file=sys.stderr)
    if outcome.results:
        say(*outcome.results)
    return outcome.code


def say(*lines: object) -> None:
    """Print lines to standard output, which may be a full disk or a closed pipe."""
    try:
        print(*lines, sep="\n", flush=True)
    except OSError as error:
        # else Python tries once more at its end, and complains in its own words
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        finding = f"it cannot be written ({error.strerror}), but all files are in their places"
        raise MachineError("standard output", finding, "look in the output folder") from error

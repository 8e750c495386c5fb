"""How a call ended."""

from __future__ import annotations

from dataclasses import dataclass

from unimo_bids import exits


@dataclass(frozen=True)
class Outcome:
    """What to print, and the exit code.

    Attributes
    ----------
    results
        Files that were written, or what was asked for: a line each.
    complaints
        What failed or is missing, a sentence each.
    """

    results: tuple[object, ...] = ()
    complaints: tuple[str, ...] = ()
    code: int = exits.DONE

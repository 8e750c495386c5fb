"""How a call ended."""

from __future__ import annotations

from dataclasses import dataclass

from unimo_bids import exits


@dataclass(frozen=True)
class Outcome:
    """What to print, and the exit code."""

    results: tuple[object, ...] = ()
    complaints: tuple[str, ...] = ()
    code: int = exits.DONE

"""Where a threshold comes from.

A room keeps the thresholds of its stages in `thresholds.py`, a frozen dataclass for each stage, in
which every number says its origin. `docs/notes/thresholds.md` is made from these.

Examples
--------
>>> @dataclass(frozen=True)
... class Ranking:
...     least: float = measured(0.5, "39 real pairs: right ones have .53 and more", shown=True)
>>> Ranking().least, origins(Ranking)["least"].kind
(0.5, 'measured')
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Kind = Literal["derived", "measured", "convention"]


@dataclass(frozen=True)
class Origin:
    """Of one number.

    Attributes
    ----------
    kind
        Derived from what is known, measured on something, or a convention: the field's, or a
        choice that was not fitted to anything.
    why
        From what, on what, whose.
    shown
        Whether results are shown of the very data it was set on: these flatter.
    """

    kind: Kind
    why: str
    shown: bool = False


def derived(value: T, why: str) -> T:
    """Give a number that follows from others."""
    return _number(value, Origin("derived", why))


def measured(value: T, why: str, *, shown: bool = False) -> T:
    """Give a number that was set on data; `shown` if results are shown of the same data."""
    return _number(value, Origin("measured", why, shown))


def convention(value: T, why: str) -> T:
    """Give a number that is usual, or chosen and not fitted."""
    return _number(value, Origin("convention", why))


def origins(stage: type[Any]) -> dict[str, Origin]:
    """Origins of a stage's numbers, by name."""
    return {one.name: one.metadata["origin"] for one in fields(stage)}


def _number(value: T, origin: Origin) -> T:
    number: T = field(default=value, metadata={"origin": origin})
    return number

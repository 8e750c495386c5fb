"""A run in numbers and words: what its figures do not say, kept in a file beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unimo_bids.brain.place import option_for
from unimo_bids.errors import InputError
from unimo_bids.files.objects import read_object, write_object
from unimo_bids.reports.record import RunRecord

if TYPE_CHECKING:
    from unimo_bids.brain.mask import Candidate

AGAIN = "remove it and run again"


@dataclass(frozen=True)
class Column:
    """A number that each run has: its name in tables, its title and explanation."""

    name: str
    title: str
    digits: int = 2


COLUMNS = (
    Column("fd_mean", "FD mean, mm"),
    Column("fd_median", "FD median, mm"),
    Column("fd_max", "FD max, mm"),
    Column("largest_move", "Largest move, mm"),
    Column("fd_after_mean", "FD mean left, mm", 3),
    Column("tsnr_before", "tSNR before", 1),
    Column("tsnr_after", "tSNR after", 1),
    Column("tsnr_gain", "tSNR gain, ×"),
    Column("brain_ml", "Brain, ml", 0),
    Column("censored_percent", "Censored, %", 1),
    Column("uncorrected_percent", "Not corrected, %", 1),
    Column("frames", "Frames", 0),
    Column("searched", "Searched", 0),
    Column("bridged", "Bridged", 0),
    Column("lost", "Lost", 0),
)


@dataclass(frozen=True)
class Summary:
    """Facts, warnings and numbers of a run, for reports.

    Attributes
    ----------
    numbers
        Has each of `COLUMNS`, None where there is none.
    candidates
        What is known of each place that may be the brain, and the option that chooses it.
    """

    facts: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    numbers: Mapping[str, float | int | None] = field(
        default_factory=lambda: dict.fromkeys(column.name for column in COLUMNS)
    )
    candidates: Sequence[tuple[str, str]] = ()


def headings(candidates: Sequence[Candidate], chosen: bool) -> list[tuple[str, str]]:
    """Heading of each candidate: its measures, and the option that chooses it."""
    return [
        (
            f"{number}. {'chosen: ' if chosen and number == 1 else ''}{one.volume:.0f} ml, "
            f"confidence {one.confidence:.2f}",
            option_for(one.center),
        )
        for number, one in enumerate(candidates, start=1)
    ]


def write_summary(path: Path, record: RunRecord) -> None:
    """Write the summary of a run."""
    content = {
        "entities": record.entities,
        "facts": dict(record.facts),
        "warnings": list(record.warnings),
        "numbers": {name: _number(value) for name, value in record.numbers.items()},
        "candidates": headings(record.candidates, record.chosen),
    }
    write_object(path, content)


def read_summary(path: Path) -> Summary:
    """Read the summary of a run."""
    content = read_object(path, AGAIN)
    try:
        facts = {str(label): str(text) for label, text in content["facts"].items()}
        warnings = [str(warning) for warning in content["warnings"]]
        candidates = [(str(what), str(how)) for what, how in content.get("candidates", ())]
        numbers = {column.name: _number(content["numbers"].get(column.name)) for column in COLUMNS}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(path, "it is not the summary of a run", AGAIN) from error
    return Summary(facts, warnings, numbers, candidates)


def _number(value: Any) -> float | int | None:
    """A finite number as Python's own type; None for anything else."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value

"""A run in numbers and words: what its figures do not say, kept in a file beside them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unimo_bids.errors import InputError
from unimo_bids.files.staging import atomic
from unimo_bids.reports.record import RunRecord

AGAIN = "remove it and run again"


@dataclass(frozen=True)
class Column:
    """A number that each run has: its name in tables, and what readers are told."""

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
    Column("frames", "Frames", 0),
    Column("searched", "Searched", 0),
    Column("bridged", "Bridged", 0),
    Column("lost", "Lost", 0),
)


@dataclass(frozen=True)
class Summary:
    """What a report says of a run; `numbers` has each of `COLUMNS`, None where there is none."""

    facts: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    numbers: Mapping[str, float | int | None] = field(
        default_factory=lambda: dict.fromkeys(column.name for column in COLUMNS)
    )


def write_summary(path: Path, record: RunRecord) -> None:
    """Write the summary of a run."""
    content = {
        "entities": record.entities,
        "facts": dict(record.facts),
        "warnings": list(record.warnings),
        "numbers": {name: _number(value) for name, value in record.numbers.items()},
    }
    with atomic(path) as temporary:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def read_summary(path: Path) -> Summary:
    """Read the summary of a run."""
    content = read_json(path)
    try:
        facts = {str(label): str(text) for label, text in content["facts"].items()}
        warnings = [str(warning) for warning in content["warnings"]]
        numbers = {column.name: _number(content["numbers"].get(column.name)) for column in COLUMNS}
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(path, "it is not the summary of a run", AGAIN) from error
    return Summary(facts, warnings, numbers)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(path, "it cannot be read as JSON", AGAIN) from error
    if not isinstance(content, dict):
        raise InputError(path, "it is not a JSON object", AGAIN)
    return content


def _number(value: Any) -> float | int | None:
    """Take a finite number, and nothing else; numpy's become Python's."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value

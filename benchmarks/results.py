"""Results worth keeping: a small JSON file per table in ``benchmarks/results/``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks.series import ROOT

FOLDER = ROOT / "benchmarks" / "results"


@dataclass(frozen=True)
class Figure:
    """A number that sums a table up, and its target.

    Parameters
    ----------
    what
        What was measured.
    value
        As it was printed, trailing zeros included.
    unit
        ``mm``, ``%``, ...; empty for counts and ratios.
    of
        How many there were, if `value` is a count. Targets are then in per cent of these.
    at_least, at_most
        The target; without either there is none.
    """

    what: str
    value: Decimal | int
    unit: str = ""
    of: int | None = None
    at_least: Decimal | int | None = None
    at_most: Decimal | int | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one.

        >>> Figure("found", 17, of=21, at_least=85).met
        False
        """
        if self.at_least is None and self.at_most is None:
            return None
        value = self.value if self.of is None else Decimal(100) * self.value / self.of
        above = self.at_least is None or value >= self.at_least
        return above and (self.at_most is None or value <= self.at_most)


@dataclass(frozen=True)
class Result:
    """One table, and how it came about.

    Parameters
    ----------
    title
        Heading on the page; no two are alike.
    date, commit
        When, and the state of the project that was measured. In results older than these files it
        is the commit that brought the figures.
    machine
        Processor, cores, threads, what else was running; empty if not recorded.
    commands
        What repeats it; empty if no command is known.
    about
        What was measured and how the columns are to be read, Markdown.
    notes
        Page of ``docs/notes/`` that gives the reasons; empty if there is none.
    figures
        What the table comes down to.
    columns, rows
        The table, cells as text.
    """

    title: str
    date: str
    commit: str
    machine: str
    commands: tuple[str, ...]
    about: str
    notes: str
    figures: tuple[Figure, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def read_result(path: Path) -> Result:
    """Read a result."""
    fields = json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    try:
        fields["figures"] = [Figure(**figure) for figure in fields["figures"]]
        fields["rows"] = [tuple(row) for row in fields["rows"]]
        result = Result(**{k: tuple(v) if type(v) is list else v for k, v in fields.items()})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a result as benchmarks/results.py has it: {error}") from None
    if any(len(row) != len(result.columns) for row in result.rows):
        raise ValueError(f"{path}: a row has not as many cells as there are columns")
    return result


def write_result(path: Path, result: Result) -> None:
    """Write a result, a row or figure per line."""
    fields = asdict(result)
    fields["figures"] = [
        {k: v for k, v in figure.items() if v not in (None, "")} for figure in fields["figures"]
    ]
    lines = ",\n".join(f" {_json(name)}: {_listed(value)}" for name, value in fields.items())
    path.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


def _listed(value: Any) -> str:
    if isinstance(value, str) or not value:
        return _json(value)
    return "[\n" + ",\n".join(f"  {_json(item)}" for item in value) + "\n ]"


def _json(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_json(k)}: {_json(v)}" for k, v in value.items()) + "}"
    # a float would lose trailing zeros
    return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)

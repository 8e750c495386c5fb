"""Who was scanned, from the tables of a dataset."""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimo_bids.errors import UnimoError
from unimo_bids.files.objects import read_object

_GESTATIONAL = re.compile(
    r"(gestational|fetal)_?age(_|$).*|gestational_weeks|ga|ga_(weeks?|days?|at_scan|scan)|scan_ga"
)
# Ages since the last menstrual period are given under these names after birth
_POSTMENSTRUAL = re.compile(r"post_?menstrual_age.*|pma|pma_(weeks?|days?|at_scan|scan)")
_AGE = re.compile(r"age|age_(years?|months?|weeks?|days?|at_scan|scan)")
_GROUPS = {
    "fetal": ("fetal", "fetus", "fetuses", "foetal", "foetus", "foetuses"),
    "infant": (
        "infant",
        "infants",
        "neonate",
        "neonates",
        "neonatal",
        "newborn",
        "baby",
        "toddler",
    ),
    "adult": ("adult", "adults"),
}
_GROUP_COLUMNS = ("population", "group", "cohort", "age_group")

_WEEKS = {"week": 1.0, "day": 1 / 7, "month": 365.25 / 12 / 7, "year": 365.25 / 7}
# The longest pregnancies
_TERM_WEEKS = 45
_OLDEST_WEEKS = 120 * _WEEKS["year"]
# By then the head has nine tenths of its adult size
_INFANT_WEEKS = 3 * _WEEKS["year"]


@dataclass(frozen=True)
class _Column:
    """A cell of a table, and what the table's JSON says about its column."""

    name: str
    value: str
    about: dict[str, Any]

    def weeks(self, default_unit: str) -> float | None:
        """The age in weeks; None if it is no number, as ``n/a``."""
        match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\+?\s*", self.value)  # "89+" hides an age
        if match is None:
            weeks_days = re.fullmatch(r"\s*([0-9]+)\s*[+w]\s*([0-6])\s*d?\s*", self.value)
            return int(weeks_days[1]) + int(weeks_days[2]) / 7 if weeks_days else None
        return float(match[1]) * _WEEKS[self.unit(default_unit)]

    def unit(self, default: str) -> str:
        """Unit of time from the JSON, else from the column's name."""
        for text in (str(self.about.get("Units", "")), self.name):
            for unit in _WEEKS:
                if re.search(rf"(^|[^a-z]){unit}s?([^a-z]|$)", text.lower()):
                    return unit
        return default

    @property
    def gestational(self) -> bool:
        """Whether it is a gestational age at the scan, not at birth."""
        keys = ("LongName", "Description")
        described = " ".join(str(self.about.get(key, "")) for key in keys).lower()
        name = self.name.lower()
        if "birth" in name or "birth" in described:
            return False
        return bool(_GESTATIONAL.fullmatch(name)) or (
            bool(_AGE.fullmatch(name)) and "gestation" in described
        )

    @property
    def cited(self) -> str:
        """Name and value, as the table has them."""
        return f"{self.name} {self.value.strip()}"


def population_of(
    bids_dir: Path, participant: str, session: str | None = None
) -> tuple[str | None, str]:
    """Tell fetal, infant and adult participants apart by age.

    `participant`, `session`: labels. The session's own table (`sub-X_sessions.tsv`) is read before
    `participants.tsv`.

    Returns
    -------
    population
        ``fetal``, ``infant``, ``adult``; None where the tables do not say.
    reason
        Table and cell that say so, or why it is not known, for the report.
    """
    reason = "no table gives an age"
    for path, columns in _rows(bids_dir, participant, session):
        population, found = _population(columns)
        if population is not None:
            return population, f"{path.name}: {found}"
        if found:
            reason = f"{path.name}: {found}"
    return None, reason


def gestational_weeks(bids_dir: Path, participant: str, session: str | None = None) -> float | None:
    """Age of a fetus at the scan; None where the tables do not say, or it is none."""
    population, _ = population_of(bids_dir, participant, session)
    if population != "fetal":
        return None
    for _, columns in _rows(bids_dir, participant, session):
        for column in columns:
            if column.gestational and (weeks := column.weeks("week")) is not None:
                return weeks
    return None


def tables(
    bids_dir: Path, participant: str, session: str | None
) -> list[tuple[Path, str, str, list[Path]]]:
    """Tables that say who was scanned, the session's own first; row and descriptions of each."""
    label = f"sub-{participant}"
    tables = [(bids_dir / "participants.tsv", "participant_id", label, [bids_dir])]
    if session is not None:
        path = bids_dir / label / f"{label}_sessions.tsv"
        about = [bids_dir / label, bids_dir]
        tables.insert(0, (path, "session_id", f"ses-{session}", about))
    return tables


def cell(path: Path, key: str, value: str, column: str) -> str:
    """Text of a column in the row of a participant or session; empty if there is none."""
    return _cells(path, key, value).get(column, "")


def _rows(
    bids_dir: Path, participant: str, session: str | None
) -> Iterator[tuple[Path, list[_Column]]]:
    """Every table with its row of the participant or session; no cells if there is none."""
    for path, key, value, folders in tables(bids_dir, participant, session):
        cells = _cells(path, key, value)
        described = _description(path, folders) if cells else {}
        yield path, [_Column(name, text, described.get(name, {})) for name, text in cells.items()]


def _cells(path: Path, key: str, value: str) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            row = next((row for row in rows if row.get(key) == value), None)
    except (OSError, csv.Error):
        return {}
    return {
        name: text
        for name, text in (row or {}).items()
        if isinstance(name, str) and isinstance(text, str)
    }


def _description(table: Path, folders: list[Path]) -> dict[str, dict[str, Any]]:
    """The JSON that goes with a table, the nearest."""
    names = {table.stem, table.stem.rpartition("_")[2]}
    for folder in folders:
        for name in sorted(names, reverse=True):
            with contextlib.suppress(UnimoError):  # it explains columns, and is needed by no run
                content = read_object(folder / f"{name}.json")
                return {key: one for key, one in content.items() if isinstance(one, dict)}
    return {}


def _population(columns: list[_Column]) -> tuple[str | None, str]:
    """Population from the cells of a row, and why; an empty reason where no cell says anything."""
    for column in columns:
        for population, words in _GROUPS.items():
            if column.name.lower() in _GROUP_COLUMNS and column.value.strip().lower() in words:
                return population, column.cited
    for column in columns:
        name = column.name.lower()
        if _POSTMENSTRUAL.fullmatch(name) and column.weeks("week") is not None:
            return (
                "infant",
                f"{column.cited} ({column.unit('week')}s, a name for ages after birth)",
            )
    gestational = [
        (one, weeks) for one in columns if one.gestational and (weeks := one.weeks("week"))
    ]
    ages = [
        (one, weeks)
        for one in columns
        if not one.gestational
        and _AGE.fullmatch(one.name.lower())
        and (weeks := one.weeks("year")) is not None
    ]
    if gestational:
        return _fetal_or_not(*gestational[0], ages)
    if not ages:
        return None, ""
    column, weeks = ages[0]
    unit = column.unit("year")
    if unit in ("week", "day") and weeks <= _TERM_WEEKS:
        return None, f"{column.cited} ({unit}s) does not say whether from birth or before"
    if weeks > _OLDEST_WEEKS:
        return None, f"{column.cited} cannot be in {unit}s"
    population = "infant" if weeks < _INFANT_WEEKS else "adult"
    return population, f"{column.cited} ({unit}s)"


def _fetal_or_not(
    column: _Column, weeks: float, ages: list[tuple[_Column, float]]
) -> tuple[str | None, str]:
    """Decide whether a gestational age is of a fetus at the scan, or of a child at birth."""
    said = f"{column.cited} ({column.unit('week')}s)"
    if weeks > _TERM_WEEKS:
        return None, f"{said} is longer than a pregnancy"
    for age, since_birth in ages:
        if age.unit("year") in ("week", "day") and abs(since_birth - weeks) < 1:
            continue  # the same age twice
        if since_birth < _INFANT_WEEKS:
            return "infant", f"{age.cited} ({age.unit('year')}s) beside {said}"
        return (
            None,
            f"{said} beside {age.cited} ({age.unit('year')}s): mother's age, or born early?",
        )
    return "fetal", said

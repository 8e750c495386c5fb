"""Where the brain is, if a person has said so: on the command line, or in the dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimo_bids.bids.participants import cell, tables
from unimo_bids.brain.place import FORM, OPTION, read_place
from unimo_bids.files.objects import is_number, read_object
from unimo_bids.settings import Settings

KEY, COLUMN = "BrainCenter", "brain_center"
_NOTHING = ("", "n/a")


@dataclass(frozen=True)
class Hint:
    """A place in the brain of a run.

    Attributes
    ----------
    place
        As `brain.place.read_place` has it.
    source
        Option, key or column that gives it.
    """

    place: str
    source: str = OPTION
    file: Path | None = None

    @property
    def reason(self) -> str:
        """Who gave it, for the report."""
        return self.source if self.file is None else f"{self.file.name}: {self.source}"


def hint_for(
    settings: Settings, entities: Mapping[str, str], sidecars: Sequence[Path]
) -> tuple[Hint | None, list[str]]:
    """Find the place given for the brain of a run; warn of values that are no place.

    The option is asked first, then the run's sidecars, its session's table (`sub-X_sessions.tsv`)
    and `participants.tsv`.
    """
    if settings.brain_center is not None:
        return Hint(settings.brain_center), []
    warnings: list[str] = []
    for file, key, value in _places_in(settings.bids_dir, entities, sidecars):
        try:
            return Hint(_place(value), key, file), warnings
        except ValueError:
            warnings.append(f"{file.name}: {key} {value!r} is no place and was ignored ({FORM}).")
    return None, warnings


def _places_in(
    bids_dir: Path, entities: Mapping[str, str], sidecars: Sequence[Path]
) -> Iterator[tuple[Path, str, Any]]:
    """Places in the dataset: the file, the key or column, and the value."""
    for path in reversed(sidecars):
        value = read_object(path).get(KEY)
        if value is not None and value not in _NOTHING:
            yield path, KEY, value
    for path, key, row, _ in tables(bids_dir, entities["sub"], entities.get("ses")):
        value = cell(path, key, row, COLUMN).strip()
        if value not in _NOTHING:
            yield path, COLUMN, value


def _place(value: Any) -> str:
    """A place as text, from text or a list of numbers."""
    if isinstance(value, list):
        value = ",".join(f"{one:g}" if is_number(one) else "?" for one in value)
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is neither text nor a list")
    return read_place(value)

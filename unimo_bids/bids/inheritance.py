"""What the JSON files of a dataset say about a series: those that lie above it and name no more.

Only these are read. A fault in the sidecar of another run is another day's matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from unimo_bids.bids.names import labels, plain, suffix_of
from unimo_bids.files.objects import read_object


def sidecars_of(bids_dir: Path, series: Path, entities: Mapping[str, str]) -> tuple[Path, ...]:
    """Sidecars that apply to a series, from the dataset's folder down to its own."""
    suffix = suffix_of(series)
    found: list[Path] = []
    for folder in reversed([one for one in series.parents if one.is_relative_to(bids_dir)]):
        here = [
            (len(named), path)
            for pattern in (f"{suffix}.json", f"*_{suffix}.json")
            for path in folder.glob(pattern)
            if (named := _entities(path)) is not None and _applies(named, entities)
        ]
        found += [path for _, path in sorted(here)]
    return tuple(found)


def inherited(sidecars: Iterable[Path]) -> dict[str, Any]:
    """Merge sidecars; later ones override earlier ones."""
    metadata: dict[str, Any] = {}
    for path in sidecars:
        metadata |= {key: value for key, value in read_object(path).items() if value is not None}
    return metadata


def _entities(sidecar: Path) -> dict[str, str] | None:
    """Entities in the name of a sidecar; None if it is not named like one."""
    *pairs, _ = sidecar.name.removesuffix(".json").split("_")
    if sidecar.name.startswith(".") or not all("-" in pair for pair in pairs):
        return None
    return labels("_".join(pairs)) if pairs else {}


def _applies(named: Mapping[str, str], entities: Mapping[str, str]) -> bool:
    """Whether a series has all entities of a sidecar; numbers may have leading zeros."""
    return all(
        name in entities and plain(name, value) == plain(name, entities[name])
        for name, value in named.items()
    )

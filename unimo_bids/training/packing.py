"""Objects in one compressed file: their arrays by name and number, all else as JSON."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from unimo_bids.errors import InputError
from unimo_bids.files.arrays import write_arrays

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Made = TypeVar("Made")


def pack(objects: Sequence[DataclassInstance], path: Path) -> None:
    """Write the file (npz)."""
    arrays: dict[str, NDArray[np.generic]] = {}
    facts: list[dict[str, Any]] = []
    for n, one in enumerate(objects):
        values = {field.name: getattr(one, field.name) for field in fields(one)}
        own = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
        arrays |= {f"{name}_{n}": value for name, value in own.items()}
        facts.append({name: value for name, value in values.items() if name not in own})
    arrays["facts"] = np.array(json.dumps(facts))
    write_arrays(path, arrays, compressed=True)


def unpacked(path: Path, make: Callable[..., Made], what: str, command: str) -> list[Made]:
    """Read the file; `make` is given the fields of each object.

    `what`, `command`: for refusals: what the file should hold, and what makes one.
    """
    try:
        with np.load(path) as file:
            arrays: defaultdict[str, dict[str, Any]] = defaultdict(dict)
            for key in file.files:
                name, _, number = key.rpartition("_")
                arrays[number][name] = file[key]
            facts = json.loads(str(file["facts"]))
            return [make(**fact, **arrays[f"{n}"]) for n, fact in enumerate(facts)]
    except (OSError, KeyError, ValueError, TypeError) as error:
        finding = f"is no file of {what} ({error})"
        raise InputError(path, finding, f"make one: {command}") from None

"""JSON objects, as BIDS describes files with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unimo_bids.errors import InputError
from unimo_bids.files.staging import machine_error, write_text


def is_number(value: object) -> bool:
    """Whether a JSON value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_text(content: Mapping[str, Any]) -> str:
    """A JSON object for readers."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def write_object(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object, whole or not at all."""
    write_text(path, as_text(content))


def read_object(path: Path, remedy: str = "correct it") -> dict[str, Any]:
    """Read a JSON object; refuse anything else with the file's name."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise InputError(path, "there is no such file", "check the path") from error
    except OSError as error:
        raise machine_error(path, error) from error
    except ValueError as error:  # UnicodeDecodeError is one
        finding = f"it is not valid JSON ({' '.join(str(error).split())})"
        raise InputError(path, finding, remedy) from error
    except RecursionError as error:
        raise InputError(path, "its JSON is nested too deeply", remedy) from error
    if not isinstance(content, dict):
        kind = "a list" if isinstance(content, list) else "a single value"
        raise InputError(path, f"it is {kind}, not a JSON object ({{…}})", remedy)
    return content

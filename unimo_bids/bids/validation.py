"""Have the raw dataset checked by the BIDS validator, where it is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimo_bids.errors import InputError

_PROGRAM = "bids-validator-deno"
_OPTIONS = ("--ignoreWarnings", "--ignoreNiftiHeaders", "--prune")
_SECONDS = 600
_SHOWN = 3


@dataclass(frozen=True, order=True)
class Finding:
    """Errors of one kind in a file: its path, the validator's code, and the keys concerned."""

    location: str
    code: str
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        """In a few words."""
        details = f" ({', '.join(self.details)})" if self.details else ""
        return f"{self.location or 'dataset'}: {self.code}{details}"


def check_dataset(bids_dir: Path, used: Collection[Path]) -> str | None:
    """Refuse a dataset in which the validator finds errors that matter.

    `used`: its files from which anything will be known; what is wrong with others does not matter.

    Returns what to warn of, in one sentence: errors elsewhere, or why the dataset was not checked.
    """
    program = _find()
    if program is None:
        return f"{_PROGRAM} is not installed, so the dataset was not checked."
    loop = _loop(bids_dir)
    if loop is not None:
        return (
            f"{loop} is linked to a folder that holds it, which {_PROGRAM} would follow for ever, "
            "so the dataset was not checked."
        )
    try:
        found = validate(program, bids_dir)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return f"{_PROGRAM} failed ({_one_line(error)}), so the dataset was not checked."
    # without a place, it concerns all
    places = {"", *(path.relative_to(bids_dir).as_posix() for path in used)}
    findings = [one for one in found if one.location in places]
    if findings:
        finding = f"the BIDS validator finds {_counted(findings)}"
        remedy = f"correct them (run {_PROGRAM} for details) or give --skip-bids-validation"
        raise InputError(bids_dir, finding, remedy)
    if found:
        return f"In files that these runs do not use, the BIDS validator finds {_counted(found)}."
    return None


def _counted(findings: Sequence[Finding]) -> str:
    more = f" and {len(findings) - _SHOWN} more" if len(findings) > _SHOWN else ""
    listed = "; ".join(map(str, findings[:_SHOWN])) + more
    number = "1 error" if len(findings) == 1 else f"{len(findings)} errors"
    return f"{number} ({listed})"


def validate(program: str, bids_dir: Path) -> list[Finding]:
    """Errors in a dataset; headers of images are checked when their run begins."""
    with tempfile.TemporaryDirectory() as scratch:
        # Its JavaScript engine wants to write at home, which may be read-only
        environment = os.environ | {"DENO_DIR": scratch, "DENO_NO_UPDATE_CHECK": "1"}
        done = subprocess.run(
            [program, str(bids_dir), "--format=json", *_OPTIONS],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    try:
        result = json.loads(done.stdout)
        return _errors(result)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no output"]
        raise ValueError(said[-1]) from error


def _errors(result: dict[str, Any]) -> list[Finding]:
    found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for one in result["issues"]["issues"]:
        if one.get("severity") == "error":
            key = one.get("location", "").lstrip("/"), one["code"]
            found[key].update(filter(None, [_detail(one)]))
    # in no order of their own
    return sorted(
        Finding(location, code, tuple(sorted(details)))
        for (location, code), details in found.items()
    )


def _detail(issue: dict[str, Any]) -> str:
    """The key and what is wrong with its value, where the validator says so."""
    said = issue.get("issueMessage", "").partition("\n")[0].strip()
    if said.startswith("Field description:"):  # what the key means, over many lines
        said = ""
    return " ".join(filter(None, [issue.get("subCode", ""), said]))


def _loop(bids_dir: Path) -> Path | None:
    """Find a link to a folder above it."""
    for place, folders, _ in os.walk(bids_dir):
        folders[:] = [one for one in folders if not one.startswith(".")]
        for link in (Path(place, one) for one in folders):
            if link.is_symlink() and Path(place).resolve().is_relative_to(link.resolve()):
                return link
    return None


def _find() -> str | None:
    """Prefer the validator beside this Python, as the environment need not be activated."""
    beside = Path(sys.executable).parent / _PROGRAM
    return str(beside) if os.access(beside, os.X_OK) else shutil.which(_PROGRAM)


def _one_line(error: Exception) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no answer in {_SECONDS} s"
    return " ".join(str(error).split())

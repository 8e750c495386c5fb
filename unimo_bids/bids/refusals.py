"""Refusals before anything is computed: datasets without raw BOLD, and names that are not BIDS."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from unimo_bids.bids.ignored import ignored_in
from unimo_bids.bids.names import ENTITIES, OTHER_DATATYPES, entities_of, parse_series
from unimo_bids.errors import InputError
from unimo_bids.files.staging import machine_error
from unimo_bids.settings import Settings


def check_bold(bids_dir: Path) -> None:
    """Refuse a dataset in which nothing can be corrected, from its names and description alone.

    The validator would look through all of it, and speak of faults of other data.

    Raises `InputError`: it holds results of another program, or no BOLD.
    """
    series = list(named_bold(bids_dir))
    if any(parse_series(path) is not None for path in series):
        return
    program = _made_by(bids_dir)
    if program is not None:
        finding = f"this is a derivatives dataset{program}, and there is no raw BOLD series in it"
        raise InputError(bids_dir, finding, "give the raw dataset that it was made from")
    if not series:
        raise no_bold(bids_dir)


def no_bold(bids_dir: Path) -> InputError:
    """Say that there is no BOLD, and what there is instead."""
    found = {path.name for at in ("sub-*/*/", "sub-*/ses-*/*/") for path in bids_dir.glob(at)}
    others = ", ".join(sorted(found.intersection(OTHER_DATATYPES)))
    finding = "there is no BOLD series in this dataset (sub-*/[ses-*/]func/*_bold.nii.gz)"
    finding += f", only {others}" if others else ""
    return InputError(bids_dir, finding, "check the folder and the files' names")


def _made_by(bids_dir: Path) -> str | None:
    """Which programs made a derivatives dataset, ' (fMRIPrep)'; None if it is none."""
    try:
        about = json.loads((bids_dir / "dataset_description.json").read_text("utf-8-sig"))
        # of versions of BIDS before 1.4
        former = about.get("PipelineDescription")
        programs = about.get("GeneratedBy") or ([former] if former else [])
        if about.get("DatasetType") != "derivative" and not former:
            return None
        names = ", ".join(str(one["Name"]) for one in programs)
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return None
    return f" ({names})" if names else ""


def check_names(settings: Settings) -> None:
    """Refuse series whose names are not BIDS: they would be passed over, or taken for others."""
    wanted = settings.participant_label
    for folder in sorted(settings.bids_dir.glob("sub-*/")):
        if not wanted or folder.name.removeprefix("sub-") in wanted:
            _check_readable(folder)
    for path in sorted(named_bold(settings.bids_dir)):
        participant = path.relative_to(settings.bids_dir).parts[0].removeprefix("sub-")
        if parse_series(path) is None and (not wanted or participant in wanted):
            finding = "this name of a BOLD series is not BIDS" + _offence(path)
            remedy = "rename it, and its sidecar, like sub-01[_ses-1]_task-rest[_run-1]_bold"
            raise InputError(path, finding, f"{remedy}, or name it in .bidsignore")


def _check_readable(participant: Path) -> None:
    """Refuse a folder that may not be read: its series would be passed over."""
    for pattern in ("", "func", "ses-*", "ses-*/func"):
        for folder in participant.glob(pattern) if pattern else [participant]:
            try:
                if folder.is_dir():
                    os.scandir(folder).close()
            except OSError as error:
                raise machine_error(folder, error) from error


def named_bold(bids_dir: Path) -> Iterator[Path]:
    """Files of a dataset whose names end as those of BOLD series do, but those it ignores."""
    ignored = ignored_in(bids_dir)
    for folder in bids_dir.glob("sub-*/"):
        for path in (*folder.glob("func/*"), *folder.glob("*/func/*")):
            named = path.name.endswith(("_bold.nii", "_bold.nii.gz"))
            if named and not path.name.startswith(".") and not ignored(path):
                yield path


def _offence(path: Path) -> str:
    """Say what is wrong with a name, if it is one of the common mistakes."""
    folders = [one for one in path.parts[-4:-2] if one.startswith(("sub-", "ses-"))]
    for place in (path.name, *folders):
        odd = sorted(
            {one for one in place if not (one.isascii() and (one.isalnum() or one in "_-.+"))}
        )
        if odd:
            return f" ({', '.join(map(repr, odd))} may not be in a label, only letters and digits)"
    if "_task-" not in path.name:
        return " (it names no task)"
    given = list(entities_of(path))
    known = [one for one in ENTITIES if one in given]
    if given != known and set(given) == set(known):
        return f" (its parts belong in this order: {', '.join(known)})"
    return ""

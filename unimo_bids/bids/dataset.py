"""The output folder as a BIDS dataset of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from unimo_bids.bids.names import GROUP_TABLE
from unimo_bids.errors import InputError, UnimoError
from unimo_bids.files.objects import as_text, read_object
from unimo_bids.files.staging import machine_error, make_folder, write_text
from unimo_bids.settings import Settings

NAME = "unimo-bids"
_BIDS_VERSION = "1.10.0"
# What BIDS derivatives have no name for yet. No slashes at the end: the validator knows none.
_IGNORED = (
    "*.html",
    "logs",
    "log",
    "figures",
    str(GROUP_TABLE),
    "*_xfm.*",
    "*_boldref.*",
    "*_timeseries.*",
    "*_boldmap.*",
)


def prepare_dataset(settings: Settings) -> tuple[str, ...]:
    """Make the output folder with its description; returns warnings, a sentence each.

    Raises `InputError`: the folder holds another program's results, or raw data.
    """
    out = settings.out_dir
    warnings = check_output(out)
    make_folder(out)
    path, about = out / "dataset_description.json", description(settings)
    meant = _links(path)
    _write_if_new(path, as_text(about))
    _write_if_new(out / ".bidsignore", _bidsignore(out / ".bidsignore"))
    return (
        *warnings,
        *(
            f"In {out}, sidecars call a dataset '{name}' that was {meant[name]} for earlier results"
            f" and is {now} now: unless it has only moved, use another output folder or name."
            for name, now in about["DatasetLinks"].items()
            if meant.get(name, now) != now
        ),
    )


def check_output(out_dir: Path) -> tuple[str, ...]:
    """Refuse a folder of another program's results; warn of those of another version."""
    path = out_dir / "dataset_description.json"
    try:
        if not path.exists():
            return ()
        found = read_object(path)
        programs = {one["Name"]: one.get("Version") for one in found.get("GeneratedBy", [])}
    except OSError as error:
        raise machine_error(path, error) from error
    except (InputError, AttributeError, KeyError, TypeError) as error:
        finding = "this folder has a description that cannot be read"
        raise InputError(path, finding, "choose another folder, or remove the file") from error
    if NAME not in programs:
        owner = f"the results of {', '.join(map(str, programs))}" if programs else "other data"
        raise InputError(out_dir, f"this folder holds {owner}", "choose another output folder")
    if programs[NAME] != version(NAME):
        return (
            f"{out_dir} holds results of {NAME} {programs[NAME]}, this is {version(NAME)}; do not"
            " mix them in one analysis.",
        )
    return ()


def description(settings: Settings) -> dict[str, Any]:
    """Content of `dataset_description.json`."""
    return {
        "Name": "unimo-bids: motion-corrected BOLD",
        "BIDSVersion": _BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": NAME, "Version": version(NAME), **_container(os.environ)}],
        "HowToAcknowledge": "Please cite what logs/CITATION.md lists.",
        "SourceDatasets": [_source(settings)],
        "DatasetLinks": {
            # sidecars of earlier calls, with other --derivatives, still refer to theirs
            **_links(settings.out_dir / "dataset_description.json"),
            "raw": _link(settings.bids_dir, settings.out_dir),
            **{name: _link(one, settings.out_dir) for name, one in settings.derivatives.items()},
        },
    }


def _links(path: Path) -> dict[str, str]:
    try:
        links = read_object(path).get("DatasetLinks")
    except UnimoError:
        return {}
    return links if isinstance(links, dict) else {}


def _container(environment: Mapping[str, str]) -> dict[str, Any]:
    """Which container this runs in: Apptainer says so itself, our image by a variable."""
    image = environment.get("APPTAINER_CONTAINER") or environment.get("SINGULARITY_CONTAINER")
    if image:
        uri = Path(image).as_uri() if image.startswith("/") else image
        return {"Container": {"Type": "singularity", "URI": uri}}
    tag = environment.get("UNIMO_BIDS_IMAGE")
    return {"Container": {"Type": "docker", "Tag": tag}} if tag else {}


def _source(settings: Settings) -> dict[str, str]:
    """The raw dataset by its DOI if it has one, else by its place."""
    raw = settings.bids_dir
    try:
        doi = str(read_object(raw / "dataset_description.json").get("DatasetDOI", ""))
    except UnimoError:
        doi = ""
    if match := re.search(r"10\.\d{4,}/\S+", doi):
        return {"DOI": f"doi:{match[0]}"}
    return {"URL": _link(raw, settings.out_dir)}


def _link(dataset: Path, out_dir: Path) -> str:
    """Relative where the output lies within the dataset and moves with it, else absolute."""
    if out_dir.is_relative_to(dataset):
        return Path(os.path.relpath(dataset, out_dir)).as_posix()
    return dataset.as_uri()


def _bidsignore(path: Path) -> str:
    """Lines that the file has already, and this program's."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return "\n".join([*lines, *(one for one in _IGNORED if one not in lines)]) + "\n"


def _write_if_new(path: Path, text: str) -> None:
    """Write a text unless the file holds it already: other calls may be reading it."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    write_text(path, text)

"""Templates by TemplateFlow's names: from its folder on this machine, else from its archive.

The client is asked only for what is not there. It writes a tree of empty files into its folder when
it is first imported, and takes seconds for it: a read-only or complete folder needs neither.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from unimo_bids.errors import InputError, MachineError
from unimo_bids.spaces.names import NATIVE, OF_PERSON, Space

_FOLDER = "TEMPLATEFLOW_HOME"
_USUAL = ("2", "1")  # resolutions, the first there is; what is finer only costs time
_IMAGES = ("T1w", "T2w", "PD")
_MASKS: tuple[dict[str, str], ...] = (
    {"desc": "brain"},
    {"label": "brain"},
    {"label": "BrainCerebellumExtraction"},
)
_OTHERS = "look at its list (templateflow ls), or give your own by --template FILE:MASK"


@dataclass(frozen=True)
class TemplateFiles:
    """Image and brain mask of a template at one resolution."""

    image: Path
    mask: Path


def templateflow_folder() -> Path:
    """Where TemplateFlow keeps its files."""
    given = os.environ.get(_FOLDER)
    if given:
        return Path(given)
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "templateflow"


def template_files(space: Space) -> TemplateFiles:
    """Find a template's files at a space's resolution on this machine, or fetch them."""
    for files, _ in _candidates(space):
        if all(path.stat().st_size > 0 for path in (files.image, files.mask)):
            return files
    return _fetched(space)


def fetch_templates(spaces: Iterable[Space]) -> list[TemplateFiles]:
    """Fetch templates for later runs without a network; files that are there are kept."""
    return [template_files(space) for space in spaces if space.name not in OF_PERSON]


def _candidates(space: Space) -> Iterator[tuple[TemplateFiles, list[dict[str, Any]]]]:
    """Files in the folder, empty if not fetched yet, and the client's arguments to fetch them."""
    folder = templateflow_folder() / f"tpl-{space.name}"
    stem = f"tpl-{space.name}_"
    if space.cohort:
        folder /= f"cohort-{space.cohort}"
        stem += f"cohort-{space.cohort}_"
    # templates of one resolution do not name it
    usual = space.resolution in (None, NATIVE)
    resolutions = [*_USUAL, None] if usual else [space.resolution]
    for resolution in resolutions:
        words: dict[str, Any] = {"cohort": space.cohort}
        words["resolution"] = resolution and int(resolution)
        parts = [f"res-{int(resolution):02d}_", f"res-{resolution}_"] if resolution else [""]
        for part, suffix, kind in product(parts, _IMAGES, _MASKS):
            named = "_".join(f"{key}-{value}" for key, value in kind.items())
            image = folder / f"{stem}{part}{suffix}.nii.gz"
            mask = folder / f"{stem}{part}{named}_mask.nii.gz"
            if image.exists() and mask.exists():
                wanted = ({"suffix": suffix, "desc": None}, {"suffix": "mask", **kind})
                yield TemplateFiles(image, mask), [words | one for one in wanted]


def _fetched(space: Space) -> TemplateFiles:
    """Fetch them from TemplateFlow's archive."""
    # the list of files that the client brings serves; a newer one would need the network twice
    os.environ.setdefault("TEMPLATEFLOW_AUTOUPDATE", "off")
    try:
        from templateflow import api

        first = next(iter(_candidates(space)), None)
        if first is None:
            raise InputError(space.name, _unknown(space), _OTHERS)
        files, wanted = first
        for words in wanted:
            api.get(space.name, extension=".nii.gz", **words)
    except ImportError as error:
        raise MachineError("templateflow", "it is not installed", "pip install it") from error
    except (OSError, RuntimeError) as error:  # those of requests are OSErrors
        finding = f"this template is not in {templateflow_folder()} and cannot be fetched"
        remedy = (
            f"run `unimo-bids --fetch-templates {space}` where there is a network, and give the "
            f"folder that it fills as {_FOLDER}"
        )
        raise MachineError(str(space), finding, remedy) from error
    return files


def _unknown(space: Space) -> str:
    folder = templateflow_folder() / f"tpl-{space.name}"
    if not folder.is_dir():
        return "TemplateFlow has no template of this name"
    cohorts = sorted(path.name for path in folder.glob("cohort-*"))
    if cohorts and f"cohort-{space.cohort}" not in cohorts:
        return f"TemplateFlow has it as {', '.join(cohorts)}, and one must be chosen"
    return f"TemplateFlow has no image with a brain mask for {space}"

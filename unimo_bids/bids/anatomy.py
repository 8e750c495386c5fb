"""Anatomical images, and their ways to standard spaces, that fMRIPrep or NiBabies have made."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

from unimo_bids.spaces.anatomy import Anatomy
from unimo_bids.spaces.names import ANATOMIES


def find_anatomy(entities: Mapping[str, str], derivatives: Mapping[str, Path]) -> Anatomy | None:
    """Find the anatomical image, with its brain mask, of a run's participant; None without one.

    That of the run's session comes before that of all sessions, T1w before T2w, and the first
    dataset that has one wins.
    """
    folders = [one for dataset in derivatives.values() for one in _folders(dataset, entities)]
    for folder, name in product(folders, ANATOMIES):
        ending = f"_desc-preproc_{name}.nii.gz"
        for image in sorted(folder.glob(f"sub-*{ending}")):
            stem = image.name.removesuffix(ending)
            mask = image.with_name(f"{stem}_desc-brain_mask.nii.gz")
            if "_space-" not in stem and mask.exists():
                return Anatomy(name, image, mask, dict(_transforms(folder, stem, name)))
    return None


def _folders(dataset: Path, entities: Mapping[str, str]) -> Iterator[Path]:
    person = dataset / f"sub-{entities['sub']}"
    if "ses" in entities:
        yield person / f"ses-{entities['ses']}" / "anat"
    yield person / "anat"


def _transforms(folder: Path, stem: str, name: str) -> Iterator[tuple[str, Path]]:
    pattern = re.compile(rf"{re.escape(stem)}_from-{name}_to-([A-Za-z0-9+]+)_mode-image_xfm\.h5")
    for path in sorted(folder.glob(f"{stem}_from-{name}_to-*_xfm.h5")):
        if match := pattern.fullmatch(path.name):
            yield match[1], path

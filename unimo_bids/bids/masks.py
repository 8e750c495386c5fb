"""Brain masks that other programs have made of a run, on its own grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Header

from unimo_bids.bids.names import entities_of, func_folder, plain
from unimo_bids.bids.timing import image_header
from unimo_bids.errors import InputError
from unimo_bids.files.header import SAME_GRID_VOXELS, data_shape, grid_distance, world_affine
from unimo_bids.files.voxels import extent

# Spaces that are the series' own
_NATIVE = ("orig", "boldref", "bold", "func")
# Where in a dataset results lie; Snakebids programs, as those for fetal masks, use the second
_ROOTS = (".", "results")


def find_mask(
    series: Path,
    entities: Mapping[str, str],
    echoes: Sequence[str],
    derivatives: Mapping[str, Path],
) -> tuple[Path | None, tuple[str, ...]]:
    """Find the mask of a run: one for all frames, or (4D) one for each.

    Parameters
    ----------
    entities
        Of the run, without echo; a mask that names fewer is not for this run.
    derivatives
        Datasets by name; the first that has a mask wins.

    Returns
    -------
    path
        None if there is none.
    warnings
        About masks that bear the right name and do not fit, a sentence each.
    """
    warnings: list[str] = []
    for name, dataset in derivatives.items():
        for mask in _named_for(dataset, entities, echoes):
            misfit = _misfit(series, mask)
            if misfit is None:
                return mask, tuple(warnings)
            warnings.append(f"The mask {mask.name} of {name} is not used: {misfit}.")
    return None, tuple(warnings)


def _named_for(dataset: Path, entities: Mapping[str, str], echoes: Sequence[str]) -> Iterator[Path]:
    """Masks with the run's entities, those with the fewest others first."""
    found = []
    for root in _ROOTS:
        for path in (dataset / root / func_folder(entities)).glob("*_desc-brain_mask.nii*"):
            has = entities_of(path)
            extra = set(has) - set(entities)
            if (
                path.name.endswith((".nii", ".nii.gz"))
                and all(_agree(name, has.get(name), value) for name, value in entities.items())
                and extra <= {"desc", "space", "echo"}
                and has.get("space", "orig") in _NATIVE
                and ("echo" not in has or has["echo"] in echoes)
            ):
                found.append((len(extra), path.name, path))
    yield from (path for *_, path in sorted(found))


def _agree(name: str, found: str | None, wanted: str) -> bool:
    """Whether labels agree; ``part`` may be missing from a mask's name."""
    return name == "part" if found is None else plain(name, found) == plain(name, wanted)


def _misfit(series: Path, mask: Path) -> str | None:
    """Say why a mask is not on the grid of a series; None if it is."""
    headers = image_header(series), image_header(mask)
    if headers[0] is None:
        return None  # the series itself is refused when its run begins
    if headers[1] is None:
        return "it cannot be read"
    try:
        (shape, affine), (mask_shape, mask_affine) = (
            _grid(header, path)
            for header, path in zip(headers, (series, mask), strict=True)
            if header is not None
        )
    except InputError as error:
        return str(error).rstrip(".")
    if mask_shape[:3] != shape[:3]:
        return f"it has {extent(mask_shape[:3])} voxels, the series {extent(shape[:3])}"
    if mask_shape[3:] not in ((), (1,), shape[3:]):
        return f"it has {mask_shape[3]} frames, the series {shape[3:][0] if shape[3:] else 1}"
    if grid_distance(affine, mask_affine, shape) > SAME_GRID_VOXELS:
        return "it lies elsewhere in space than the series"
    return None


def _grid(header: Nifti1Header, path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    shape = data_shape(header, path)
    return shape, world_affine(header, shape, path)[0]

"""Mask one file: read, find the brain, write."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from unimo_bids.brain.advice import advised
from unimo_bids.brain.head import refusing
from unimo_bids.brain.place import locate
from unimo_bids.brain.run import SeriesBrain, find_series_brain
from unimo_bids.cli.arguments import check_center
from unimo_bids.devices import torch_device
from unimo_bids.errors import InputError
from unimo_bids.files.reopening import check_image
from unimo_bids.files.series import Series, read_series
from unimo_bids.files.writing import write_volume
from unimo_bids.motion.estimation import find_reference


@dataclass(frozen=True)
class Told:
    """What came out, for the reader."""

    sentence: str
    warnings: list[str]


def mask_file(options: argparse.Namespace) -> Told:
    """Write the mask of one image; `unimo-mask` says what the options are."""
    check_center(options.brain_center, options.method)
    _check_output(options)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    series = read_series(options.input, single=True)
    with refusing(options.input):
        found = _found(series, options)
    if not found.brain.usable:
        finding = "; ".join(advised(found.brain, pointed=options.brain_center is not None))
        raise InputError(options.input, finding, "no mask was written")
    masks = found.brain.mask.astype(np.uint8) if found.frame_masks is None else found.frame_masks
    write_volume(options.output, masks, series)
    check_image(options.output)
    return Told(_sentence(series, found, masks), found.warnings)


def _found(series: Series, options: argparse.Namespace) -> SeriesBrain:
    many = series.shape[3] > 1
    reference = options.reference
    if reference == "auto":
        reference = find_reference(series, series.affine) if many else 0
    if reference >= series.shape[3]:
        finding = f"there is no frame {reference} (they are 0 to {series.shape[3] - 1})"
        raise InputError(options.input, finding, "choose another --reference, or auto")
    center = options.brain_center
    return find_series_brain(
        series,
        reference,
        method=options.method,
        population=options.population,
        center=None if center is None else locate(center, series),
        follow=many,
        device=torch_device(options.device),
    )


def _check_output(options: argparse.Namespace) -> None:
    output: Path = options.output
    if not output.name.endswith((".nii", ".nii.gz")):
        raise InputError(output, "this is not the name of a NIfTI file", "end it in .nii.gz")
    if not output.exists():
        return
    if options.input.exists() and output.samefile(options.input):
        raise InputError(output, "the input would be overwritten", "choose another name")
    if not options.overwrite:
        raise InputError(output, "this file exists already", "give --overwrite or another name")


def _sentence(series: Series, found: SeriesBrain, masks: NDArray[np.uint8]) -> str:
    voxel_ml = abs(float(np.linalg.det(series.affine[:3, :3]))) / 1000
    volumes = voxel_ml * masks.sum(axis=(0, 1, 2), dtype=np.int64)
    method = f"by {found.brain.method}"
    if volumes.ndim == 0:
        return f"brain: {volumes:.0f} ml, {method}"
    seen = volumes[volumes > 0]
    return (
        f"brain: in {len(seen)} of {len(volumes)} frames, {np.median(seen):.0f} ml "
        f"({seen.min():.0f} to {seen.max():.0f}), {method}"
    )

"""Mask one file: read, find the brain, write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from unimo_bids.brain.advice import advised
from unimo_bids.brain.place import check_place
from unimo_bids.brain.run import find_series_brain
from unimo_bids.devices import torch_device
from unimo_bids.errors import InputError
from unimo_bids.files.reopening import check_image
from unimo_bids.files.series import read_series
from unimo_bids.files.staging import check_free
from unimo_bids.files.writing import write_volume
from unimo_bids.pipeline.steps import choose_reference
from unimo_bids.spatial.region import widened
from unimo_bids.words import BrainMethod, Population


@dataclass(frozen=True)
class Masked:
    """The brain in an image.

    Attributes
    ----------
    masks
        ``(X, Y, Z)`` uint8, or ``(X, Y, Z, T)``; empty where the brain was not found in a frame.
        With a margin, if one was asked for.
    volumes_ml
        Of each brain, without the margin, ``()`` or ``(T,)``.
    method
        How the brain was found.
    warnings
        A sentence each.
    """

    masks: NDArray[np.uint8]
    volumes_ml: NDArray[np.float64]
    method: str
    warnings: list[str]

    def __str__(self) -> str:
        """In a line."""
        if self.volumes_ml.ndim == 0:
            return f"brain: {self.volumes_ml:.0f} ml, by {self.method}"
        ml = self.volumes_ml[self.volumes_ml > 0]
        return (
            f"brain: in {len(ml)} of {len(self.volumes_ml)} frames, {np.median(ml):.0f} ml "
            f"({ml.min():.0f} to {ml.max():.0f}), by {self.method}"
        )


def mask_file(
    image: Path,
    output: Path,
    *,
    brain_extraction: BrainMethod = "unimo",
    brain_center: str | None = None,
    population: Population | None = None,
    reference: int | Literal["auto"] = "auto",
    margin: float = 0.0,
    device: str = "auto",
    threads: int | None = None,
    overwrite: bool = False,
) -> Masked:
    """Write the mask of one volume, or of every frame of a series; `unimo-mask` explains all."""
    check_place(brain_center, brain_extraction)
    _check_output(image, output, overwrite)
    if threads is not None:
        torch.set_num_threads(threads)
    series = read_series(image, single=True)
    chosen = choose_reference(series, reference)
    found = find_series_brain(
        series,
        chosen,
        method=brain_extraction,
        population=population,
        place=brain_center,
        follow=series.shape[3] > 1,
        device=torch_device(device),
    )
    if not found.brain.usable:
        finding = "; ".join(advised(found.brain, pointed=brain_center is not None))
        raise InputError(image, finding, "no mask was written")
    inside = found.brain.mask if found.frame_masks is None else found.frame_masks > 0
    masks = inside.view(np.uint8)
    sizes = np.linalg.norm(series.affine[:3, :3], axis=0)
    volumes_ml = series.grid.voxel_ml * masks.sum(axis=(0, 1, 2), dtype=np.int64)
    if margin:
        masks = _with_margin(masks, sizes, margin)
    write_volume(output, masks, series)
    check_image(output)
    return Masked(masks, np.asarray(volumes_ml), found.brain.method, found.warnings)


def _with_margin(
    masks: NDArray[np.uint8], sizes: NDArray[np.float64], margin: float
) -> NDArray[np.uint8]:
    """Masks and so many mm around each."""
    if masks.ndim == 3:
        return widened(masks > 0, sizes, margin).astype(np.uint8)
    frames = [_with_margin(masks[..., t], sizes, margin) for t in range(masks.shape[3])]
    return np.stack(frames, axis=-1)


def _check_output(image: Path, output: Path, overwrite: bool) -> None:
    if not output.name.endswith((".nii", ".nii.gz")):
        raise InputError(output, "this is not the name of a NIfTI file", "end it in .nii.gz")
    check_free([output], [image], overwrite)

"""Anatomies from label maps on disk: adult (SynthSeg's codes) and fetal (Fidon's codes)."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from unimo_bids.errors import InputError
from unimo_bids.simulation import anatomy as adult
from unimo_bids.simulation import fetal
from unimo_bids.simulation.anatomy import Anatomy, ball_radius, cropped, recentered, tissue_texture

# FreeSurfer and SynthSeg codes → the labels of `adult_head`
_ADULT_TISSUES: dict[int, tuple[int, ...]] = {
    adult.ADULT_WHITE: (2, 7, 16, 28, 41, 46, 60, 77, 85),
    adult.ADULT_GREY: (3, 8, 10, 11, 12, 13, 17, 18, 26, 42, 47, 49, 50, 51, 52, 53, 54, 58),
    adult.ADULT_VENTRICLE: (4, 5, 14, 15, 25, 30, 43, 44, 57, 62, 72, 136, 137, 163, 164),
    adult.ADULT_FLUID: (24, 512, 514),
    adult.ADULT_BONE: (165, 515, 516),
    adult.ADULT_SCALP: (502, 507, 508, 509, 511, 530),
    adult.ADULT_EYE: (506,),
}


def read_label_map(path: str | Path) -> Anatomy:
    """Anatomy from a label map, the kind told by its codes.

    SynthSeg's adult maps (FreeSurfer codes, 501-530 outside the brain) are taken as they are;
    fetal maps (codes 1-8, brain only) get skull, scalp, eyes, face and neck built around them.
    Air spaces inside the adult head carry no label and stay absent.
    """
    image = nib.nifti1.Nifti1Image.from_filename(path)
    canonical = nib.funcs.as_closest_canonical(image)
    codes = np.asarray(canonical.dataobj).astype(np.int64)
    found = set(np.unique(codes).tolist())
    affine = np.asarray(canonical.affine, dtype=np.float64)
    name = Path(path).name.split(".")[0]
    if found <= set(range(9)) and fetal.WHITE in found:
        return fetal.wrapped_brain(codes.astype(np.uint8), affine, name, seed=0)
    if not {2, 3, 41, 42} <= found:
        raise InputError(
            path,
            f"codes {sorted(found)[:12]} … are neither SynthSeg's nor those of fetal tissues 1-8",
            "relabel it",
        )
    return _adult(codes, affine, name)


def _adult(codes: NDArray[np.int64], affine: NDArray[np.float64], name: str) -> Anatomy:
    lookup = np.zeros(int(codes.max()) + 1, dtype=np.uint8)
    for label, members in _ADULT_TISSUES.items():
        lookup[[code for code in members if code < len(lookup)]] = label
    labels, affine = cropped(lookup[codes], affine, margin=4)
    brain_labels = (adult.ADULT_WHITE, adult.ADULT_GREY, adult.ADULT_VENTRICLE)
    brain = np.isin(labels, brain_labels)
    voxel_mm = float(np.linalg.norm(affine[:3, :3], axis=0).mean())
    return Anatomy(
        labels=labels,
        affine=recentered(affine, brain),
        intensities=np.array(adult.ADULT_INTENSITIES, dtype=np.float32),
        brain_labels=brain_labels,
        texture=tissue_texture(labels, adult.ADULT_UNEVEN, 0, voxel_mm),
        name=name,
        radius=ball_radius(brain, voxel_mm),
    )

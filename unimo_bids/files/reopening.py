"""Open again what was written, before it is called done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip

from unimo_bids.errors import MachineError

_CHUNK_BYTES = 2**20


def check_image(path: Path, named: Path | None = None) -> None:
    """Refuse an image that nibabel cannot open, that is cut short, or that holds NaN or infinity.

    Raises `MachineError`: it cannot be used.
    """
    try:
        fault = _fault(path)
    except Exception as error:  # nibabel has many ways to fail, and a damaged disk more
        fault = " ".join(f"{type(error).__name__}: {error}".split())
    if fault is not None:
        finding = f"it was written and cannot be used ({fault})"
        raise MachineError(named or path, finding, "check the disk; if that is sound, report it")


def _fault(path: Path) -> str | None:
    image = nib.loadsave.load(path)
    if not isinstance(image, nib.nifti1.Nifti1Image):
        return "it is no NIfTI image"
    stored: Any = image.dataobj
    dtype, slope, intercept = image.get_data_dtype(), stored.slope, stored.inter
    if not (np.isfinite(image.affine).all() and np.isfinite([slope, intercept]).all()):
        return "its affine or its scaling is not finite"
    # in small pieces: a series as nibabel gives it takes eight bytes a voxel
    left = int(np.prod(image.shape, dtype=object)) * dtype.itemsize
    with igzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        stream.seek(stored.offset)
        while left > 0:
            chunk = stream.read(min(_CHUNK_BYTES, left))
            if not chunk:
                return "it is cut short"
            left -= len(chunk)
            if dtype.kind == "f" and not np.isfinite(np.frombuffer(chunk, dtype)).all():
                return "not all of its values are finite"
        if stream.read(1):
            return "it is too long"
    return None

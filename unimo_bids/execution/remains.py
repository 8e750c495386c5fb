"""What an earlier call has left in the work folder: a step with a file cut short is redone."""

from __future__ import annotations

import gzip
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.wrapstruct import WrapStructError

from unimo_bids.errors import MachineError
from unimo_bids.files.mapped import SUFFIX, open_series


def remove_damaged(folder: Path) -> list[Path]:
    """Remove the steps below a folder that have a damaged file; returns these files.

    Programs that are killed leave none, as files appear whole. Disks do, and machines that fail.
    """
    damaged = [path for path in sorted(folder.rglob("*.*")) if path.is_file() and _is_cut(path)]
    for path in damaged:
        shutil.rmtree(path.parent, ignore_errors=True)
    return damaged


def _is_cut(path: Path) -> bool:
    """Whether a file ends too early; quick, as series may be large."""
    try:
        if path.name.endswith(".nii.gz"):
            return _announced(path) != _packed(path)
        if path.suffix == ".pklz":
            return not gzip.decompress(path.read_bytes())
        if path.suffix == SUFFIX:
            open_series(path)
        if path.suffix == ".npz":
            zipfile.ZipFile(path).close()  # its directory stands at the end
        elif path.suffix == ".json" and not path.name.startswith("_"):  # nipype's are no JSON
            json.loads(path.read_text(encoding="utf-8"))
    except (OSError, EOFError, ValueError, WrapStructError, zipfile.BadZipFile, MachineError):
        return True
    return False


def _announced(path: Path) -> int:
    """Bytes that an image has by its header, modulo 2³²."""
    with gzip.open(path) as stream:
        header = Nifti1Header(stream.read(Nifti1Header.sizeof_hdr), check=False)
    voxels = int(np.prod(header["dim"][1 : header["dim"][0] + 1], dtype=object))
    return (int(header["vox_offset"]) + voxels * int(header["bitpix"]) // 8) % 2**32


def _packed(path: Path) -> int:
    """Bytes that gzip has packed, modulo 2³² as it counts; the last thing in the file."""
    with path.open("rb") as file:
        file.seek(-4, 2)
        return int.from_bytes(file.read(4), "little")

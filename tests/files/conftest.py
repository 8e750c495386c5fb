from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

# oblique by 0.1 rad, left-handed, anisotropic; no shear, which a qform cannot hold
_COS, _SIN = np.cos(0.1), np.sin(0.1)
AFFINE = np.array(
    [[-3, 0, 0, 9], [0, 2.9 * _COS, -3.9 * _SIN, -11], [0, 2.9 * _SIN, 3.9 * _COS, 5], [0, 0, 0, 1]]
)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Write a small series; what is given departs from a healthy one."""

    def write(
        data: np.ndarray | None = None,
        name: str = "bold.nii.gz",
        *,
        affine: np.ndarray = AFFINE,
        dtype: type | str = np.int16,
        header: dict[str, object] | None = None,
        kind: type = nib.Nifti1Image,
    ) -> Path:
        if data is None:
            data = np.random.default_rng(0).integers(100, 900, (6, 7, 5, 6))
        image = kind(np.asarray(data).astype(dtype), affine, dtype=dtype)
        if image.ndim == 4:
            image.header.set_zooms((*image.header.get_zooms()[:3], 2.0))
        image.header.set_xyzt_units("mm", "sec")
        path = tmp_path / name
        nib.save(image, path)
        if header:
            edit(path, header)
        return path

    return write


def edit(path: Path, fields: dict[str, object]) -> None:
    """Overwrite fields of a header in place, behind the back of all checks."""
    compressed = path.suffix == ".gz"
    with nib.openers.ImageOpener(path, "rb") as stream:
        raw = stream.read()
    header = nib.Nifti1Header(raw[:348], check=False)
    for field, value in fields.items():
        if isinstance(value, dict):
            for index, item in value.items():
                header[field][index] = item
        else:
            header[field] = value
    raw = header.binaryblock + raw[348:]
    if compressed:
        import gzip

        raw = gzip.compress(raw)
    path.write_bytes(raw)

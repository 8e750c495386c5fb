"""An affine after a displacement field, as ITK's HDF5 files hold it: what fMRIPrep calls `xfm.h5`.

ITK applies what stands last in the file first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unimo_bids.files.header import Float64
from unimo_bids.files.staging import atomic
from unimo_bids.spatial.warp import Field

_LPS = np.diag([-1.0, -1.0, 1.0])
_ROOT = "TransformGroup"


def write_composite(path: Path, matrix: Float64, field: Field | None) -> None:
    """Write where points of a space are in an image: ``matrix @ field(x)``.

    Parameters
    ----------
    matrix
        ``(4, 4)`` RAS mm.
    field
        Comes first; beyond its grid ITK has no displacement.
    """
    from h5py import File, string_dtype  # most runs stay in their own space

    linear, shift = _LPS @ matrix[:3, :3] @ _LPS, _LPS @ matrix[:3, 3]
    affine = np.concatenate([linear.ravel(), shift])
    transforms: list[tuple[str, Float64, Float64]] = [("Affine", affine, np.zeros(3))]
    if field is not None:
        transforms.append(("DisplacementField", *_parameters(field)))
    with atomic(path) as temporary, File(temporary, "w") as file:
        file.create_dataset(f"{_ROOT}/0/TransformType", data=["CompositeTransform_double_3_3"],
                            dtype=string_dtype("ascii"))  # fmt: skip
        for number, (name, parameters, fixed) in enumerate(transforms, start=1):
            group = file.create_group(f"{_ROOT}/{number}")
            kind = [f"{name}Transform_double_3_3"]
            group.create_dataset("TransformType", data=kind, dtype=string_dtype("ascii"))
            group.create_dataset("TransformParameters", data=parameters)
            group.create_dataset("TransformFixedParameters", data=fixed)


def _parameters(field: Field) -> tuple[Float64, Float64]:
    """Displacements, vector by vector, x fastest; and size, origin, spacing, directions."""
    affine, sizes = field.grid.affine.numpy(), field.grid.sizes.numpy()
    displacement = np.einsum("ij,jxyz->ixyz", _LPS, field.displacement.double().numpy())
    directions = _LPS @ affine[:3, :3] / sizes
    fixed = [field.grid.shape, _LPS @ affine[:3, 3], sizes, directions.ravel()]
    return displacement.ravel(order="F"), np.concatenate(fixed).astype(np.float64)

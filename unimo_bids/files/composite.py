"""Affines and displacement fields, as ITK's HDF5 files hold them: what fMRIPrep calls `xfm.h5`.

ITK applies what stands last in the file first.
"""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unimo_bids.errors import InputError
from unimo_bids.files.header import Float64
from unimo_bids.files.staging import atomic
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.warp import Affine, Composed, Field, Warp

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


def read_composite(path: Path) -> Warp:
    """Read where points of a space are in an image, from affines and fields in any order.

    Beyond a field's grid its displacements go on as at the border, where ITK has none.
    """
    from h5py import File

    remedy = "give the file as fMRIPrep or ANTs have written it"
    try:
        with File(path) as file:
            groups = [file[_ROOT][name] for name in sorted(file[_ROOT], key=int)]
            kinds = [group["TransformType"][0].decode() for group in groups]
            warps = [
                _warp(kind, *_stored(group))
                for kind, group in zip(kinds, groups, strict=True)
                if not kind.startswith("CompositeTransform")
            ]
    except (OSError, KeyError, ValueError, TypeError, IndexError) as error:
        raise InputError(path, f"holds no composite transform of ITK ({error})", remedy) from error
    if not warps:
        raise InputError(path, "holds no transform", remedy)
    return reduce(Composed, reversed(warps))


def _stored(group: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Parameters and fixed parameters of a transform; older versions of ITK misspell them."""
    word = "Transform" if "TransformParameters" in group else "Tranform"
    return np.asarray(group[f"{word}Parameters"]), np.asarray(group[f"{word}FixedParameters"])


def _warp(kind: str, parameters: NDArray[Any], fixed: NDArray[Any]) -> Warp:
    if kind.startswith("DisplacementFieldTransform"):
        shape, origin, sizes = fixed[:3].astype(int), fixed[3:6], fixed[6:9]
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = _LPS @ (fixed[9:].reshape(3, 3) * sizes), _LPS @ origin
        lps = parameters.astype(np.float32).reshape(3, *shape, order="F")
        ras = np.einsum("ij,jxyz->ixyz", _LPS.astype(np.float32), lps)
        return Field(Grid.of(tuple(shape), affine), torch.from_numpy(np.ascontiguousarray(ras)))
    if len(parameters) != 12:  # nine of a matrix, three of a shift about the fixed centre
        raise ValueError(f"a {kind}, which is neither an affine nor a displacement field")
    linear, shift = parameters[:9].reshape(3, 3), parameters[9:]
    matrix = np.eye(4)
    matrix[:3, :3] = _LPS @ linear @ _LPS
    matrix[:3, 3] = _LPS @ (shift + fixed - linear @ fixed)
    return Affine(torch.from_numpy(matrix))


def _parameters(field: Field) -> tuple[Float64, Float64]:
    """Displacements, vector by vector, x fastest; and size, origin, spacing, directions."""
    affine, sizes = field.grid.affine.numpy(), field.grid.sizes.numpy()
    displacement = np.einsum("ij,jxyz->ixyz", _LPS, field.displacement.double().numpy())
    directions = _LPS @ affine[:3, :3] / sizes
    fixed = [field.grid.shape, _LPS @ affine[:3, 3], sizes, directions.ravel()]
    return displacement.ravel(order="F"), np.concatenate(fixed).astype(np.float64)

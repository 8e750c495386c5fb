"""Poses as ITK text transforms, the form that ANTs, ITK-SNAP, SimpleITK and fMRIPrep read.

Why not nitransforms: it prints six digits and reads float32, which moves a voxel 100 mm from the
origin by up to 0.05 mm.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unimo_bids.errors import InputError
from unimo_bids.files.header import Float64
from unimo_bids.files.staging import machine_error, write_text

_BANNER = "#Insight Transform File V1.0"
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_itk(path: str | Path, poses: Float64) -> None:
    """Write poses as a series of ITK affine transforms, one per volume.

    ITK, too, resamples with transforms that take points of the fixed space (here: the reference)
    to the moving volume; only the axes differ: ``T_LPS = D T_RAS D``, ``D = diag(-1, -1, 1)``.

    Parameters
    ----------
    poses
        ``(T, 4, 4)`` RAS mm, reference → volume.
    """
    lines = [_BANNER]
    for index, pose in enumerate(_LPS @ np.asarray(poses, dtype=np.float64) @ _LPS):
        numbers = [*pose[:3, :3].ravel(), *pose[:3, 3]]
        lines += [
            f"#Transform {index}",
            "Transform: AffineTransform_double_3_3",
            # adding 0 turns -0.0 into 0.0
            "Parameters: " + " ".join(repr(float(number) + 0.0) for number in numbers),
            "FixedParameters: 0 0 0",
            "",
        ]
    write_text(path, "\n".join(lines))


def read_itk(path: str | Path) -> Float64:
    """Read a series of ITK affine transforms as poses, ``(T, 4, 4)`` RAS mm, reference → volume."""
    path = Path(path)
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise machine_error(path, error) from error
    except UnicodeDecodeError:
        lines = []
    if not lines or not lines[0].startswith(_BANNER):
        raise InputError(path, "this is not an ITK text transform", "give a *_xfm.txt file")
    numbers: dict[str, list[list[float]]] = {"Parameters": [], "FixedParameters": []}
    try:
        for line in lines:
            key, _, values = line.partition(":")
            if key in numbers:
                numbers[key].append([float(value) for value in values.split()])
        parameters = np.array(numbers["Parameters"]).reshape(-1, 12)
        center = np.array(numbers["FixedParameters"]).reshape(len(parameters), 3)
    except ValueError as error:
        finding = "its transforms are not affine, twelve numbers and a centre each"
        raise InputError(path, finding, "give a *_xfm.txt file") from error
    poses = np.tile(np.eye(4), (len(parameters), 1, 1))
    poses[:, :3, :3] = parameters[:, :9].reshape(-1, 3, 3)
    turned = np.einsum("tij,tj->ti", poses[:, :3, :3], center)
    poses[:, :3, 3] = parameters[:, 9:] + center - turned
    return _LPS @ poses @ _LPS

"""Distortion and deformation on disk: few coefficients, or a displacement field as ITK reads it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from unimo_bids.deformation.epi import ShiftField
from unimo_bids.errors import InputError
from unimo_bids.files.objects import write_object
from unimo_bids.files.staging import atomic, machine_error
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.warp import Warp

_MODEL = "cosines along one axis of a grid"
_LPS = np.array([-1.0, -1.0, 1.0])
_VECTOR = 1007  # NIfTI's intent code of vectors


def write_shift_field(path: Path, field: ShiftField) -> None:
    """Write a field by its coefficients, JSON."""
    content = {
        "Model": _MODEL,
        "Formula": "d(i, j, k) = sum c[p][q][r] cos(pi p u) cos(pi q v) cos(pi r w); "
        "u, v, w: index from First (0) to Last (1), not beyond; "
        "a voxel shows what is d mm along the axis",
        "Axis": field.axis,
        "Shape": list(field.grid.shape),
        "Affine": field.grid.affine.tolist(),
        "First": field.first.tolist(),
        "Last": field.last.tolist(),
        "Coefficients": field.coefficients.tolist(),
        "Units": "mm",
    }
    write_object(path, content)


def read_shift_field(path: Path) -> ShiftField:
    """Read what `write_shift_field` wrote."""
    try:
        content = json.loads(path.read_text())
        if content["Model"] != _MODEL:
            raise ValueError(content["Model"])
        first, last, coefficients = (
            torch.tensor(content[name], dtype=torch.float64)
            for name in ("First", "Last", "Coefficients")
        )
        grid = Grid.of(content["Shape"], content["Affine"])
        return ShiftField(grid, int(content["Axis"]), first, last, coefficients)
    except OSError as error:
        raise machine_error(path, error) from error
    except (ValueError, TypeError, KeyError) as error:
        remedy = "give a file that ends in _distortion.json"
        raise InputError(path, "holds no distortion field", remedy) from error


def write_itk_field(path: Path, warp: Warp, grid: Grid) -> None:
    """Write a warp as the displacement field that ITK and ANTs read: ``(X, Y, Z, 1, 3)``, LPS mm.

    `grid`: of the reference; beyond it there is no displacement.
    """
    points = grid.points()
    displacement = (warp(points) - points).numpy() * _LPS
    volume = displacement.reshape(*grid.shape, 1, 3).astype(np.float32)
    image = nib.Nifti1Image(volume, grid.affine.numpy())
    image.header.set_intent(_VECTOR)
    with atomic(path) as temporary:
        content = image.to_bytes()
        temporary.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)

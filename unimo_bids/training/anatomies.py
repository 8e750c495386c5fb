"""The training ground's objects, packed into one compact file.

Heads come from folders of label maps and from the procedural fetal head, which needs no data;
surroundings are procedural. Every fourth of each kind is held back for validation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unimo_bids.errors import InputError
from unimo_bids.simulation.anatomy import ADULT_FLUID, Anatomy, adult_head
from unimo_bids.simulation.fetal import FLUID, fetal_head
from unimo_bids.simulation.labelmaps import read_label_map
from unimo_bids.simulation.shapes import closed
from unimo_bids.simulation.uterus import fetal_surroundings
from unimo_bids.training.packing import unpacked
from unimo_bids.training.stacks import Stack

Kind = Literal["adult", "fetal", "surroundings"]

IN_BRAIN = 128  # added to the labels of what a brain mask should hold
_HULL_MM = 5.0  # a mask spans sulci up to twice as wide
_RIM_MM = 8.0  # of fluid around the brain, at most: masks end at the skull
_FLUID = {"adult": ADULT_FLUID, "fetal": FLUID}
_VOXEL_MM = {"adult": 1.5, "fetal": 1.0, "surroundings": 3.0}
_HOLD_BACK = 4


@dataclass(frozen=True)
class Packed:
    """An object to render.

    Parameters
    ----------
    labels
        ``(X, Y, Z)`` uint8 tissue labels along RAS axes, plus `IN_BRAIN` in the brain mask.
    origin
        ``(3,)`` index of its centre: the brain's, or the space's for a head.
    intensities
        ``(L,)`` of the tissues in a typical EPI.
    radius
        Of a ball of the brain's volume (or of the space for a head), mm.
    """

    labels: NDArray[np.uint8]
    voxel_mm: float
    origin: NDArray[np.float64]
    intensities: NDArray[np.float32]
    kind: Kind
    name: str
    radius: float
    held_back: bool


def heads_of(objects: Iterable[object]) -> dict[str, list[Packed]]:
    """The whole heads among some objects, by kind."""
    heads: dict[str, list[Packed]] = {"adult": [], "fetal": []}
    for thing in objects:
        if isinstance(thing, Packed) and thing.kind in heads:
            heads[thing.kind].append(thing)
    return heads


def gather(folders: Sequence[Path], procedural: int, surroundings: int) -> Iterator[Packed]:
    """All objects: label maps found in folders, procedural fetal heads, and surroundings."""
    maps = [path for folder in folders for path in sorted(Path(folder).rglob("*.nii*"))]
    if folders and not maps:
        raise InputError(folders[0], "holds no label maps (*.nii, *.nii.gz)", "name another folder")
    count = {"adult": 0, "fetal": 0}
    for path in maps:
        anatomy = read_label_map(path)
        kind: Kind = "fetal" if len(anatomy.intensities) == 13 else "adult"
        count[kind] += 1
        yield _packed(anatomy, kind, count[kind])
    if not count["adult"]:
        yield _packed(adult_head(), "adult", 1)
    for number in range(procedural):
        weeks = 21 + 17 * (number + 0.5) / procedural
        yield _packed(fetal_head(round(weeks, 1), seed=10_000 + number), "fetal", number)
    for number in range(surroundings):
        rng = np.random.default_rng([number, 61])
        body = fetal_surroundings(20_000 + number, head_radius=float(rng.uniform(32, 62)))
        yield _packed(body, "surroundings", number)


def _packed(anatomy: Anatomy, kind: Kind, number: int) -> Packed:
    voxel_mm = float(np.linalg.norm(anatomy.affine[:3, 0]))
    labels = anatomy.labels.copy()
    if anatomy.brain_labels:
        brain = np.isin(labels, anatomy.brain_labels)
        hull = ndimage.binary_fill_holes(closed(brain, _HULL_MM / voxel_mm))
        inside = _within_skull(hull, labels == _FLUID[kind], voxel_mm)
        labels[inside & (labels > 0)] += IN_BRAIN
    step = _VOXEL_MM[kind]
    origin = np.asarray(np.linalg.solve(anatomy.affine, [0, 0, 0, 1])[:3], dtype=np.float64)
    axes = [np.arange(0, n - 0.5, step / voxel_mm) for n in labels.shape]
    nearest = [
        np.round(axis).astype(int).clip(max=n - 1)
        for axis, n in zip(axes, labels.shape, strict=True)
    ]
    return Packed(
        labels=labels[np.ix_(*nearest)],
        voxel_mm=step,
        origin=origin * voxel_mm / step,
        intensities=anatomy.intensities,
        kind=kind,
        name=anatomy.name,
        radius=anatomy.radius,
        held_back=number % _HOLD_BACK == _HOLD_BACK - 1,
    )


def _within_skull(
    hull: NDArray[np.bool_], fluid: NDArray[np.bool_], voxel_mm: float
) -> NDArray[np.bool_]:
    """The brain's hull and the fluid around it, ``(X, Y, Z)``; not that of the mouth."""
    near = ndimage.distance_transform_edt(~hull, sampling=voxel_mm) < _RIM_MM
    pieces, _ = ndimage.label(hull | (fluid & near))
    return np.asarray(pieces == np.bincount(pieces[hull]).argmax())


def load(path: Path) -> list[Packed | Stack]:
    """Read the compact file that `pack` has made."""
    return unpacked(path, _object, "packed anatomies", "unimo-train pack")


def _object(**fields: Any) -> Packed | Stack:
    if fields["kind"] == "stack":
        return Stack(**fields | {"sizes": tuple(fields["sizes"])})
    # lists in packs of earlier versions
    origin = np.asarray(fields["origin"])
    intensities = np.asarray(fields["intensities"], np.float32)
    return Packed(**fields | {"origin": origin, "intensities": intensities})

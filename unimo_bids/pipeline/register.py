"""Register two files: read, find the pose, write."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from unimo_bids.brain.extraction import extract_brain
from unimo_bids.brain.head import MaskError, NoImageError, foreground
from unimo_bids.devices import torch_device
from unimo_bids.errors import InputError
from unimo_bids.files.arrays import write_array
from unimo_bids.files.fields import write_itk_field
from unimo_bids.files.objects import write_object
from unimo_bids.files.reopening import check_image
from unimo_bids.files.series import Series, read_mask, read_series
from unimo_bids.files.staging import check_free
from unimo_bids.files.transforms import write_itk
from unimo_bids.files.writing import write_volume
from unimo_bids.qc.confounds import ROTATIONS_FIRST
from unimo_bids.registration.pair import PairPose, register_volumes
from unimo_bids.registration.sides import make_side
from unimo_bids.spaces.deformation import Deformation, find_deformation
from unimo_bids.spatial.resampling import resample
from unimo_bids.spatial.warp import Composed, Rigid, Warp
from unimo_bids.words import Fusion, Population

_SUFFIXES = {
    "transform": "_xfm.txt",
    "pose": "_pose.npy",
    "moved": "_moved.nii.gz",
    "facts": "_pose.json",
}
_WARP = "_warp.nii.gz"


@dataclass(frozen=True)
class Side:
    """A volume, and what of it is registered: ``mask`` (X, Y, Z), None for all that is not air."""

    series: Series
    what: Literal["given mask", "brain found", "whole image"]
    mask: NDArray[np.generic] | None
    doubts: tuple[str, ...] = ()

    @cached_property
    def millilitres(self) -> float:
        """Volume of what is registered."""
        if self.mask is None:
            image = torch.from_numpy(self.series.frame(0))
            inside = foreground(image, self.series.grid).numpy() > 0
        else:
            inside = np.asarray(self.mask) > 0.5
        return float(inside.sum()) * self.series.grid.voxel_ml

    def facts(self) -> dict[str, object]:
        """As JSON can hold it."""
        facts: dict[str, object] = {"what": self.what, "volume_ml": round(self.millilitres, 1)}
        if self.what == "brain found":
            facts["doubts"] = list(self.doubts)
        return facts


@dataclass(frozen=True)
class Registered:
    """Two volumes, the pose between them, and the outputs.

    `bent` deforms the fixed volume before the pose; None if that was not asked for.
    """

    fixed: Side
    moving: Side
    pair: PairPose
    paths: dict[str, Path]
    bent: Deformation | None = None

    @property
    def warp(self) -> Warp:
        """Transform from fixed to moving."""
        pose = Rigid(torch.from_numpy(self.pair.pose))
        field = None if self.bent is None else self.bent.field
        return pose if field is None else Composed(field, pose)

    @property
    def warnings(self) -> list[str]:
        """A sentence each."""
        sides = [side for side in (self.fixed, self.moving) if side.doubts]
        brain, pose = "the brain mask is uncertain", f"{self.paths['pose']}: the pose is doubted"
        return [
            *(f"{side.series.path}: {brain}: {'; '.join(side.doubts)}" for side in sides),
            *(f"{pose}: {doubt}" for doubt in self.pair.doubts),
        ]

    def __str__(self) -> str:
        """In two lines."""
        pair, rotation = self.pair, self.pair.pose[:3, :3]
        angle = np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1)))
        sure = (
            "" if pair.confidence is None else f", the network's confidence {pair.confidence:.2f}"
        )
        what = [f"{side.what} ({side.millilitres:.0f} ml)" for side in (self.fixed, self.moving)]
        bent = self.bent
        shape = "" if bent is None else f"; not bent: {bent.reason}" if bent.reason else "; bent"
        return (
            f"registered: {' to '.join(what)}\n"
            f"turned by {angle:.1f}°; similarity {pair.similarity:.3f}{sure}{shape}"
        )

    def facts(self) -> dict[str, object]:
        """As JSON can hold it."""
        pair, deviations = self.pair, None
        if pair.covariance is not None:
            sd = np.sqrt(np.diag(pair.covariance))
            deviations = {
                name: round(float(value), 6) if np.isfinite(value) else None
                for name, value in zip(ROTATIONS_FIRST, sd, strict=True)
            }
        return {
            "version": version("unimo-bids"),
            "fixed": str(self.fixed.series.path),
            "moving": str(self.moving.series.path),
            "registered": {"fixed": self.fixed.facts(), "moving": self.moving.facts()},
            "pose_fixed_to_moving": pair.pose.tolist(),
            "center": pair.center.round(3).tolist(),
            "confidence": None if pair.confidence is None else round(pair.confidence, 4),
            "similarity": round(pair.similarity, 4),
            "runner_up": None if pair.runner_up is None else round(pair.runner_up, 4),
            "doubted": bool(pair.doubts),
            "doubts": list(pair.doubts),
            "start": pair.start,
            "standard_deviations": deviations,
            **({} if self.bent is None else {"deformation": self.bent.facts()}),
        }


def register_files(
    fixed: Path,
    moving: Path,
    prefix: Path,
    *,
    fixed_mask: Path | None = None,
    moving_mask: Path | None = None,
    whole_image: bool = False,
    population: Population | None = None,
    network: bool = True,
    fusion: Fusion = "information",
    refine: bool = True,
    bend: bool = False,
    device: str = "auto",
    threads: int | None = None,
    overwrite: bool = False,
) -> Registered:
    """Write the pose between two volumes; `unimo-register` explains the options."""
    if not (refine or network):
        raise InputError("--no-refine --no-network", "leaves nothing to do", "drop one of them")
    if prefix.is_dir():
        remedy = f"give what their names begin with, as {prefix / 'first-to-second'}"
        raise InputError(prefix, "this is a folder; outputs would be named after it", remedy)
    paths = {key: Path(f"{prefix}{suffix}") for key, suffix in _SUFFIXES.items()}
    warp = Path(f"{prefix}{_WARP}")
    check_free([*paths.values(), warp], (fixed, moving, fixed_mask, moving_mask), overwrite)
    if bend:
        paths["warp"] = warp
    if threads is not None:
        torch.set_num_threads(threads)
    device = torch_device(device)

    def side(path: Path, mask: Path | None) -> Side:
        volume = _volume(path)
        if mask is not None:
            return _masked_side(volume, mask)
        if whole_image:
            return Side(volume, "whole image", None)
        return _brain_side(volume, population, device)

    one, other = side(fixed, fixed_mask), side(moving, moving_mask)
    if bend and (one.mask is None or other.mask is None):
        raise InputError("--bend", "looks at brains, or at masks alone", "give both masks")
    try:
        pair = register_volumes(
            one.series.frame(0),
            one.series.affine,
            other.series.frame(0),
            other.series.affine,
            fixed_mask=one.mask,
            moving_mask=other.mask,
            refine=refine,
            network=network,
            fusion=fusion,
            device=device,
        )
    except (NoImageError, MaskError) as error:
        remedy = "look at both volumes, and at their masks"
        raise InputError(f"{fixed}, {moving}", str(error), remedy) from error
    done = Registered(one, other, pair, paths, _bending(one, other, pair) if bend else None)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    _write(done)
    if not bend:  # that of an earlier call would belong to another pose
        warp.unlink(missing_ok=True)
    return done


def _volume(path: Path) -> Series:
    series = read_series(path, single=True)
    if series.shape[3] > 1:
        finding = f"has {series.shape[3]} volumes, one is wanted"
        raise InputError(path, finding, "extract one, or use unimo-correct for a series")
    return series


def _masked_side(volume: Series, path: Path) -> Side:
    mask = read_mask(path, volume)
    return Side(volume, "given mask", mask[..., 0] if mask.ndim == 4 else mask)


def _brain_side(volume: Series, population: Population | None, device: str) -> Side:
    try:
        brain = extract_brain(
            volume.frame(0), volume.affine, "unimo", population=population, device=device
        )
    except ValueError as error:
        raise InputError(volume.path, str(error), "look at the volume") from error
    if not brain.usable:
        remedy = "give a mask of what moves, or --whole-image if that is no head"
        raise InputError(volume.path, "; ".join(brain.doubts), remedy)
    return Side(volume, "brain found", brain.probability, brain.doubts)


def _bending(one: Side, other: Side, pair: PairPose) -> Deformation:
    fixed, moving = (
        make_side(side.series.frame(0), side.series.affine, side.mask, "cpu")
        for side in (one, other)
    )
    with torch.inference_mode():
        return find_deformation(fixed, moving, torch.from_numpy(pair.pose))


def _write(done: Registered) -> None:
    paths, fixed, moving = done.paths, done.fixed.series, done.moving.series
    write_itk(paths["transform"], done.pair.pose[None])
    write_array(paths["pose"], done.pair.pose)
    if "warp" in paths:
        write_itk_field(paths["warp"], done.warp, fixed.grid)
    volume = torch.from_numpy(moving.frame(0))
    moved = np.asarray(resample(volume, moving.grid, done.warp, onto=fixed.grid))
    write_volume(paths["moved"], moved, fixed)
    check_image(paths["moved"])
    write_object(paths["facts"], done.facts())

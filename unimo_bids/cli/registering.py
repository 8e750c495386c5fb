"""Register two files: read, find the pose, write."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
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
from unimo_bids.files.reopening import check_image
from unimo_bids.files.series import Series, read_mask, read_series
from unimo_bids.files.staging import atomic
from unimo_bids.files.transforms import write_itk
from unimo_bids.files.writing import write_volume
from unimo_bids.registration.pair import PairPose, register_volumes
from unimo_bids.spatial.resampling import resample
from unimo_bids.spatial.warp import Rigid

_SUFFIXES = {
    "transform": "_xfm.txt",
    "pose": "_pose.npy",
    "moved": "_moved.nii.gz",
    "facts": "_pose.json",
}


@dataclass(frozen=True)
class Told:
    """What came out, for the reader."""

    sentence: str
    path: Path
    warnings: list[str]
    doubted: bool


@dataclass(frozen=True)
class _Side:
    """A volume, and what of it is registered: ``mask`` (X, Y, Z), None for all that is not air."""

    path: Path
    series: Series
    what: Literal["given mask", "brain found", "whole image"]
    mask: NDArray[np.generic] | None
    doubts: tuple[str, ...] = ()

    @property
    def millilitres(self) -> float:
        affine = self.series.affine
        if self.mask is None:
            image = torch.from_numpy(self.series.frame(0))
            inside = foreground(image, self.series.grid).numpy() > 0
        else:
            inside = np.asarray(self.mask) > 0.5
        return float(inside.sum()) * abs(float(np.linalg.det(affine[:3, :3]))) / 1000

    def facts(self) -> dict[str, object]:
        said: dict[str, object] = {"what": self.what, "volume_ml": round(self.millilitres, 1)}
        if self.what == "brain found":
            said["doubts"] = list(self.doubts)
        return said


def register_files(options: argparse.Namespace) -> Told:
    """Write the pose between two files, and say what came out; `unimo-register` has the options."""
    if not (options.refine or options.network):
        raise InputError("--no-refine --no-network", "leaves nothing to do", "drop one of them")
    paths = _output_paths(options)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    read = [
        (options.fixed, _volume(options.fixed), options.fixed_mask),
        (options.moving, _volume(options.moving), options.moving_mask),
    ]
    fixed, moving = (_side(*one, options) for one in read)
    try:
        found = register_volumes(
            fixed.series.frame(0),
            fixed.series.affine,
            moving.series.frame(0),
            moving.series.affine,
            fixed_mask=fixed.mask,
            moving_mask=moving.mask,
            refine=options.refine,
            network=options.network,
            fusion=options.fusion,
            device=torch_device(options.device),
        )
    except (NoImageError, MaskError) as error:
        both = f"{options.fixed}, {options.moving}"
        raise InputError(both, str(error), "look at both volumes, and at their masks") from error
    facts = _facts(fixed, moving, found)
    options.prefix.parent.mkdir(parents=True, exist_ok=True)
    write_itk(paths["transform"], found.pose[None])
    with atomic(paths["pose"]) as temporary, temporary.open("wb") as file:
        np.save(file, found.pose)
    write_volume(paths["moved"], _moved(fixed.series, moving.series, found), fixed.series)
    check_image(paths["moved"])
    with atomic(paths["facts"]) as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + "\n")
    warnings = [
        f"{side.path}: the brain mask is uncertain: {'; '.join(side.doubts)}"
        for side in (fixed, moving)
        if side.doubts
    ]
    warnings += [f"{paths['pose']}: the pose is doubted: {doubt}" for doubt in found.doubts]
    return Told(_sentence(fixed, moving, found), paths["moved"], warnings, bool(found.doubts))


def _output_paths(options: argparse.Namespace) -> dict[str, Path]:
    paths = {key: Path(f"{options.prefix}{suffix}") for key, suffix in _SUFFIXES.items()}
    for path in paths.values():
        if path.exists() and not options.overwrite:
            raise InputError(path, "this output exists already", "give --overwrite or another name")
    return paths


def _volume(path: Path) -> Series:
    series = read_series(path, single=True)
    if series.shape[3] > 1:
        finding = f"has {series.shape[3]} volumes, one is wanted"
        raise InputError(path, finding, "extract one, or use unimo-correct for a series")
    return series


def _side(path: Path, series: Series, mask: Path | None, options: argparse.Namespace) -> _Side:
    """What to register of a volume: the mask's, or the brain's, or all."""
    if mask is not None:
        given = read_mask(mask, series)
        return _Side(path, series, "given mask", given[..., 0] if given.ndim == 4 else given)
    if options.whole_image:
        return _Side(path, series, "whole image", None)
    remedy = "give a mask of what moves, or --whole-image if that is no head"
    device = torch_device(options.device)
    try:
        brain = extract_brain(
            series.frame(0), series.affine, "unimo", population=options.population, device=device
        )
    except ValueError as error:
        raise InputError(path, str(error), "look at the volume") from error
    if not brain.usable:
        raise InputError(path, "; ".join(brain.doubts), remedy)
    return _Side(path, series, "brain found", brain.probability, brain.doubts)


def _moved(fixed: Series, moving: Series, found: PairPose) -> NDArray[np.float32]:
    volume, pose = torch.from_numpy(moving.frame(0)), Rigid(torch.from_numpy(found.pose))
    return np.asarray(resample(volume, moving.grid, pose, onto=fixed.grid))


def _facts(fixed: _Side, moving: _Side, found: PairPose) -> dict[str, object]:
    deviations = None
    if found.covariance is not None:
        sd = np.sqrt(np.diag(found.covariance))
        names = [f"{kind}_{axis}" for kind in ("rot", "trans") for axis in "xyz"]
        deviations = {
            name: round(float(value), 6) if np.isfinite(value) else None
            for name, value in zip(names, sd, strict=True)
        }
    return {
        "version": version("unimo-bids"),
        "fixed": str(fixed.path),
        "moving": str(moving.path),
        "registered": {"fixed": fixed.facts(), "moving": moving.facts()},
        "pose_fixed_to_moving": found.pose.tolist(),
        "center": found.center.round(3).tolist(),
        "confidence": None if found.confidence is None else round(found.confidence, 4),
        "similarity": round(found.similarity, 4),
        "runner_up": None if found.runner_up is None else round(found.runner_up, 4),
        "doubted": bool(found.doubts),
        "doubts": list(found.doubts),
        "start": found.start,
        "standard_deviations": deviations,
    }


def _sentence(fixed: _Side, moving: _Side, found: PairPose) -> str:
    rotation = found.pose[:3, :3]
    angle = np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1)))
    sure = "" if found.confidence is None else f", the network's confidence {found.confidence:.2f}"
    what = [f"{side.what} ({side.millilitres:.0f} ml)" for side in (fixed, moving)]
    return (
        f"registered: {' to '.join(what)}\n"
        f"turned by {angle:.1f}°; similarity {found.similarity:.3f}{sure}"
    )

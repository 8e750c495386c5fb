"""Register two files: read, find the pose, write."""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from unimo_bids.devices import torch_device
from unimo_bids.errors import InputError
from unimo_bids.files.reopening import check_image
from unimo_bids.files.series import Series, read_mask, read_series
from unimo_bids.files.staging import atomic
from unimo_bids.files.transforms import write_itk
from unimo_bids.files.writing import write_volume
from unimo_bids.motion.masks import MaskError, NoImageError
from unimo_bids.motion.pair import PairPose, register_volumes
from unimo_bids.motion.resampling import resample

_SUFFIXES = {
    "transform": "_xfm.txt",
    "pose": "_pose.npy",
    "moved": "_moved.nii.gz",
    "facts": "_pose.json",
}


def register_files(options: argparse.Namespace) -> str:
    """Write the pose between two files, and say what came out; `unimo-register` has the options."""
    if not (options.refine or options.network):
        raise InputError("--no-refine --no-network", "leaves nothing to do", "drop one of them")
    paths = _output_paths(options)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    fixed, moving = _volume(options.fixed), _volume(options.moving)
    try:
        found = register_volumes(
            fixed.frame(0),
            fixed.affine,
            moving.frame(0),
            moving.affine,
            fixed_mask=_mask(options.fixed_mask, fixed),
            moving_mask=_mask(options.moving_mask, moving),
            refine=options.refine,
            network=options.network,
            fusion=options.fusion,
            device=torch_device(options.device),
        )
    except (NoImageError, MaskError) as error:
        both = f"{options.fixed}, {options.moving}"
        raise InputError(both, str(error), "look at both volumes, and at their masks") from error
    options.prefix.parent.mkdir(parents=True, exist_ok=True)
    write_itk(paths["transform"], found.pose[None])
    with atomic(paths["pose"]) as temporary, temporary.open("wb") as file:
        np.save(file, found.pose)
    write_volume(paths["moved"], _moved(fixed, moving, found), fixed)
    check_image(paths["moved"])
    with atomic(paths["facts"]) as temporary:
        temporary.write_text(json.dumps(_facts(options, found), indent=2) + "\n")
    return _sentence(found) + f"\n{paths['moved']}"


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


def _mask(path: Path | None, series: Series) -> NDArray[np.generic] | None:
    if path is None:
        return None
    mask = read_mask(path, series)
    return mask[..., 0] if mask.ndim == 4 else mask


def _moved(fixed: Series, moving: Series, found: PairPose) -> NDArray[np.float32]:
    grid = fixed.shape[:3], torch.from_numpy(fixed.affine)
    pose, affine = torch.from_numpy(found.pose), torch.from_numpy(moving.affine)
    return np.asarray(resample(torch.from_numpy(moving.frame(0)), affine, pose, onto=grid))


def _facts(options: argparse.Namespace, found: PairPose) -> dict[str, object]:
    deviations = None
    if found.covariance is not None:
        sd = np.sqrt(np.diag(found.covariance))
        names = [f"{kind}_{axis}" for kind in ("rot", "trans") for axis in "xyz"]
        deviations = {name: round(float(value), 6) for name, value in zip(names, sd, strict=True)}
    return {
        "version": version("unimo-bids"),
        "fixed": str(options.fixed),
        "moving": str(options.moving),
        "pose_fixed_to_moving": found.pose.tolist(),
        "confidence": None if found.confidence is None else round(found.confidence, 4),
        "similarity": round(found.similarity, 4),
        "start": found.start,
        "standard_deviations": deviations,
    }


def _sentence(found: PairPose) -> str:
    rotation = found.pose[:3, :3]
    angle = np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1)))
    sure = "" if found.confidence is None else f", the network's confidence {found.confidence:.2f}"
    return f"turned by {angle:.1f}°; similarity {found.similarity:.3f}{sure}"

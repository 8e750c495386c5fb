"""Correct one file: read, estimate, resample, write all outputs together."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from unimo_bids.brain.advice import confidence
from unimo_bids.brain.head import refusing
from unimo_bids.brain.mask import BrainMask
from unimo_bids.brain.place import locate
from unimo_bids.brain.run import SeriesBrain, find_series_brain
from unimo_bids.cli.arguments import check_center
from unimo_bids.cli.progress import Report
from unimo_bids.devices import torch_device
from unimo_bids.errors import InputError
from unimo_bids.files.reopening import check_image
from unimo_bids.files.series import Series, read_mask, read_series
from unimo_bids.files.staging import atomic, staged
from unimo_bids.files.tables import write_table
from unimo_bids.files.transforms import write_itk
from unimo_bids.files.writing import write_volume
from unimo_bids.motion.correction import Comparison, write_corrected
from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.motion.estimation import estimate_motion, find_reference
from unimo_bids.motion.quality import STATUSES, warnings_of
from unimo_bids.motion.settings import MotionSettings
from unimo_bids.qc.confounds import (
    MOTION_NAMES,
    Move,
    finite_parameters,
    finite_steps,
    largest_move,
    parameter_deviations,
)
from unimo_bids.qc.framewise import framewise_displacement
from unimo_bids.qc.steady_state import count_non_steady
from unimo_bids.words import FileBrainMethod, Fusion, Interpolation, Population

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

_BRAIN_SHARE = 0.2  # of the estimation
_ESTIMATION_SHARE = 0.75  # of the time; the rest is resampling and writing
_MANY_FRAMES = 200  # of fewer, threads save less than they cost
_SUFFIXES = {
    "corrected": "_corrected.nii.gz",
    "transforms": "_xfm.txt",
    "motion": "_motion.tsv",
    "poses": "_poses.npy",
    "template": "_template.nii.gz",
    "mask": "_mask.nii.gz",
    "tsnr_before": "_tsnr-before.nii.gz",
    "tsnr_after": "_tsnr-after.nii.gz",
    "figure": "_summary.png",
    "summary": "_summary.json",
}


@dataclass(frozen=True)
class Options:
    """All that a correction depends on."""

    input: Path
    out_dir: Path
    mask: Path | None = None
    brain_extraction: FileBrainMethod = "auto"
    brain_center: str | None = None
    population: Population | None = None
    fusion: Fusion = "information"
    refine: bool = True
    reference: int | Literal["auto"] = "auto"
    device: str = "auto"
    threads: int | None = None
    interpolation: Interpolation = "cubic"
    prefix: str | None = None
    overwrite: bool = False
    figure: bool = True
    fd_radius: float = 50.0


@dataclass(frozen=True)
class Corrected:
    """What came of it.

    Attributes
    ----------
    estimate
        Poses and what is known about them.
    paths
        The outputs that were written.
    summary
        As in ``*_summary.json``.
    """

    estimate: MotionEstimate
    paths: Mapping[str, Path]
    summary: Mapping[str, Any]


def correct_file(options: Options, report: Report) -> Corrected:
    """Correct one file.

    Parameters
    ----------
    options
        The file, where to write, and how.
    report
        Told the fraction done, and of what.
    """
    started = time.monotonic()
    check_center(options.brain_center, options.brain_extraction, options.mask)
    paths = _output_paths(options)
    device = torch_device(options.device)
    with staged(options.out_dir) as stage:
        places = {key: stage / path.name for key, path in paths.items()}
        series = read_series(options.input)
        if options.threads is not None or series.shape[3] < _MANY_FRAMES:
            torch.set_num_threads(options.threads or 1)
        _check_reference(options, series)
        estimate, found = _estimate(series, options, device, report)
        non_steady = count_non_steady(series)
        comparison = write_corrected(
            places["corrected"],
            series,
            estimate.poses,
            template=estimate.template,
            mask=estimate.mask,
            status=estimate.status,
            non_steady=non_steady,
            interpolation=options.interpolation,
            device=device,
            progress=lambda share: report(
                _ESTIMATION_SHARE + (1 - _ESTIMATION_SHARE) * share, "correcting"
            ),
        )
        write_itk(places["transforms"], estimate.poses)
        with atomic(places["poses"]) as temporary, temporary.open("wb") as file:
            np.save(file, np.asarray(estimate.poses, dtype=np.float64))
        write_volume(places["template"], estimate.template.astype(np.float32), series)
        write_volume(places["mask"], estimate.mask.astype(np.float32), series)
        tsnr = comparison.tsnr()
        write_volume(places["tsnr_before"], tsnr[0], series)
        write_volume(places["tsnr_after"], tsnr[1], series)
        columns = _motion_columns(estimate, comparison, options.fd_radius)
        write_table(places["motion"], columns)
        summary = _summary(options, series, estimate, comparison, columns=columns, device=device)
        if found is not None:
            summary["warnings"][:0] = found.warnings
            summary["brain"] = _brain(found.brain)
        summary["non_steady_frames"] = non_steady
        if options.figure:
            _draw(places["figure"], series, estimate, comparison, columns=columns, summary=summary)
        summary["runtime_s"] = round(time.monotonic() - started, 2)
        with atomic(places["summary"]) as temporary:
            temporary.write_text(json.dumps(summary, indent=2) + "\n")
        for key, place in places.items():
            if place.name.endswith((".nii", ".nii.gz")):
                check_image(place, paths[key])
    return Corrected(estimate, paths, summary)


def _output_paths(options: Options) -> dict[str, Path]:
    """Names of all outputs; refuses to write over the input, or over anything unless asked to."""
    name = options.input.name
    stem = options.prefix or name.removesuffix(".gz").removesuffix(".nii") or name
    if Path(stem).name != stem:
        raise InputError(stem, "this prefix is not a file name", "give a prefix without a slash")
    paths = {
        key: options.out_dir / f"{stem}{suffix}"
        for key, suffix in _SUFFIXES.items()
        if options.figure or key != "figure"
    }
    inputs = [path for path in (options.input, options.mask) if path is not None and path.exists()]
    for path in paths.values():
        if not path.exists():
            continue
        if any(path.samefile(given) for given in inputs):
            finding = "this input would be overwritten by an output of the same name"
            raise InputError(path, finding, "choose another --prefix or folder")
        if not options.overwrite:
            remedy = "give --overwrite, another --prefix or another folder"
            raise InputError(path, "this output exists already", remedy)
    return paths


def _check_reference(options: Options, series: Series) -> None:
    if options.reference == "auto":
        return
    if options.reference >= series.shape[3]:
        finding = f"there is no frame {options.reference} (they are 0 to {series.shape[3] - 1})"
        raise InputError(options.input, finding, "choose another --reference, or auto")
    if options.reference in series.empty_frames:
        finding = f"frame {options.reference} is empty and cannot be the reference"
        raise InputError(options.input, finding, "choose another --reference, or auto")


def _estimate(
    series: Series, options: Options, device: str, report: Report
) -> tuple[MotionEstimate, SeriesBrain | None]:
    """Motion, and the brain that it rests on, if one was looked for."""
    mask, reference, center = None, options.reference, options.brain_center
    found: SeriesBrain | None = None
    begun = 0.0
    if options.mask is not None:
        mask = read_mask(options.mask, series)

    def partly(done: float, what: str) -> None:
        if done < 1:
            report(_ESTIMATION_SHARE * (begun + (1 - begun) * done), what)

    many = mask is not None and mask.ndim == 4
    with refusing(options.input, options.mask, many=many):
        if mask is None and options.brain_extraction != "none":
            report(0, "finding the brain")
            if reference == "auto":
                reference = find_reference(series, series.affine)
            begun = _BRAIN_SHARE
            found = find_series_brain(
                series,
                reference,
                method=options.brain_extraction,
                population=options.population,
                center=None if center is None else locate(center, series),
                follow=not options.refine,  # the network reads the shape of every frame's
                device=device,
                progress=lambda share: report(
                    _ESTIMATION_SHARE * begun * share, "finding the brain"
                ),
            )
            mask = found.motion_mask
        estimate = estimate_motion(
            series,
            series.affine,
            mask=mask,
            reference=reference,
            device=device,
            settings=MotionSettings(fusion=options.fusion, refine=options.refine),
            progress=partly,
        )
    return estimate, found


def _motion_columns(
    estimate: MotionEstimate, comparison: Comparison, radius: float
) -> dict[str, npt.NDArray[np.generic]]:
    # a lost frame has no pose to believe, nor has a step into or out of it a length
    poses, center = estimate.poses, estimate.center
    lost = np.asarray(estimate.status) == "lost"
    parameters = finite_parameters(poses, center, lost)
    parameters[lost] = np.nan
    displacement = finite_steps(framewise_displacement, poses, center, radius, lost)
    displacement[lost | np.roll(lost, 1)] = np.nan  # the first is NaN anyway
    deviations = parameter_deviations(poses, estimate.covariance, lost)
    return {
        "frame": np.arange(len(poses)),
        **dict(zip(MOTION_NAMES, parameters.T, strict=True)),
        "framewise_displacement": displacement,
        **{f"{name}_sd": sd for name, sd in zip(MOTION_NAMES, deviations.T, strict=True)},
        "similarity": np.asarray(estimate.similarity, dtype=np.float64),
        "correlation_before": comparison.similarity[0],
        "correlation_after": comparison.similarity[1],
        "status": np.asarray(estimate.status),
    }


def _summary(
    options: Options,
    series: Series,
    estimate: MotionEstimate,
    comparison: Comparison,
    *,
    columns: Mapping[str, npt.NDArray[Any]],
    device: str,
) -> dict[str, Any]:
    status = [str(one) for one in estimate.status]
    brain = np.asarray(estimate.mask) > 0.5
    tsnr = [_median(ratio[brain]) or None for ratio in comparison.tsnr()]  # 0: too few frames
    fd = columns["framewise_displacement"]
    fd = fd[np.isfinite(fd)]
    settings = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in asdict(options).items()
    }
    warnings = [*series.warnings, *map(str, estimate.findings), *warnings_of(status)]
    lost = np.asarray(estimate.status) == "lost"
    move = largest_move(estimate.poses, estimate.center, options.fd_radius, lost)
    return {
        "version": version("unimo-bids"),
        "settings": settings | {"device": device},
        "shape": list(series.shape),
        "repetition_time_s": series.repetition_time,
        "mode": str(estimate.mode),
        "findings": [str(one) for one in estimate.findings],
        "reference": int(estimate.reference),
        "center_mm": [round(float(x), 3) for x in estimate.center],
        "warnings": warnings,
        "frames": {one: status.count(one) for one in STATUSES},
        "framewise_displacement_mm": {
            "mean": _rounded(fd.mean()) if fd.size else None,
            "max": _rounded(fd.max()) if fd.size else None,
            "radius": options.fd_radius,
        },
        "largest_move": None if move is None else asdict(move) | {"mm": _rounded(move.mm)},
        "tsnr_median": {"before": tsnr[0], "after": tsnr[1]},
    }


def _brain(brain: BrainMask) -> dict[str, Any]:
    sure = confidence(brain)
    return {
        "method": brain.method,
        "doubts": list(brain.doubts),
        "confidence": None if sure is None else _rounded(sure),
        "candidates": [
            {
                "center_mm": [round(float(x), 1) for x in one.center],
                "volume_ml": round(one.volume, 1),
                "confidence": _rounded(one.confidence),
            }
            for one in brain.candidates
        ],
    }


def _median(values: npt.NDArray[np.floating]) -> float | None:
    return _rounded(np.median(values)) if values.size else None


def _rounded(value: float | np.floating) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _draw(
    path: Path,
    series: Series,
    estimate: MotionEstimate,
    comparison: Comparison,
    *,
    columns: Mapping[str, npt.NDArray[Any]],
    summary: Mapping[str, Any],
) -> None:
    # matplotlib costs half a second and a font cache: only who wants a figure pays
    from unimo_bids.reports.figures.correction import Correction, write_summary

    names = [f"{kind}_{axis}" for kind in ("rot", "trans") for axis in "xyz"]
    before, after = comparison.moments
    result = Correction(
        parameters=np.stack([columns[name] for name in names], axis=1),
        deviations=np.stack([columns[f"{name}_sd"] for name in names], axis=1),
        displacement=columns["framewise_displacement"],
        status=[str(one) for one in estimate.status],
        correlation=comparison.similarity,
        mean=(before.mean, after.mean),
        std=(before.std(comparison.detrend), after.std(comparison.detrend)),
        tsnr=comparison.tsnr(),
        mask=estimate.mask,
        affine=series.affine,
        reference=int(estimate.reference),
    )
    size = " × ".join(str(n) for n in series.shape[:3])
    tr = "" if series.repetition_time is None else f", TR {series.repetition_time:g} s"
    subtitle = f"{series.shape[3]} frames of {size}{tr}   ·   " + "   ·   ".join(described(summary))
    with atomic(path) as temporary:
        write_summary(temporary, series.path.name, subtitle, result)


def described(summary: Mapping[str, Any]) -> list[str]:
    """Say in a few short phrases what came out."""
    frames = ", ".join(f"{count} {one}" for one, count in summary["frames"].items() if count)
    fd, tsnr = summary["framewise_displacement_mm"], summary["tsnr_median"]
    phrases = [f"frames: {frames}"]
    if fd["mean"] is not None:
        phrases.append(f"FD {fd['mean']:.2f} mm")
    if summary["largest_move"] is not None:
        phrases.append(f"largest move {Move(**summary['largest_move'])}")
    if None not in tsnr.values():
        phrases.append(f"median tSNR {tsnr['before']:.1f} → {tsnr['after']:.1f}")
    return phrases

"""Correct one file: read, estimate, resample, write all outputs together."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from unimo_bids.brain.place import check_place
from unimo_bids.brain.run import SeriesBrain, find_series_brain
from unimo_bids.devices import torch_device
from unimo_bids.errors import InputError
from unimo_bids.files.arrays import write_array
from unimo_bids.files.objects import write_object
from unimo_bids.files.reopening import check_image
from unimo_bids.files.series import Series, read_series
from unimo_bids.files.staging import check_free, staged
from unimo_bids.files.tables import write_table
from unimo_bids.files.transforms import write_itk
from unimo_bids.files.writing import write_volume
from unimo_bids.motion.correction import Comparison, Then, moving, write_corrected
from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.motion.settings import MotionSettings
from unimo_bids.pipeline.distortion import (
    about_distortion,
    phase_encode_axis,
    seek_distortion,
    write_distortion,
)
from unimo_bids.pipeline.in_time import about_time, even_times, in_time
from unimo_bids.pipeline.slices import slices_to_follow, write_slices
from unimo_bids.pipeline.spaces import Carried, carry, read_templates, write_carried, write_images
from unimo_bids.pipeline.steps import (
    Head,
    Report,
    brain_facts,
    check_reference,
    choose_reference,
    estimate,
    non_steady_frames,
    read_head,
)
from unimo_bids.pipeline.summary import correction_summary, motion_columns
from unimo_bids.spaces.names import output_spaces
from unimo_bids.words import (
    Deformation,
    FileBrainMethod,
    Fusion,
    Interpolation,
    Population,
    Slices,
    TrackerName,
)

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
_SLICE_SUFFIXES = {
    "slices": "_slices.tsv",
    "rebuilt": "_rebuilt.nii.gz",
    "coverage": "_coverage.nii.gz",
}
_IN_SPACE = {what: f"{what}.nii.gz" for what in ("corrected", "template", "mask")}
_DISTORTION_SUFFIXES = {"distortion": "_distortion.json", "shift": "_shift.nii.gz"}


@dataclass(frozen=True)
class Options:
    """Options of `unimo-correct`, which explains them."""

    input: Path
    out_dir: Path
    mask: Path | None = None
    brain_extraction: FileBrainMethod = "auto"
    brain_center: str | None = None
    population: Population | None = None
    tracker: TrackerName = "auto"
    fusion: Fusion = "information"
    refine: bool = True
    reference: int | Literal["auto"] = "auto"
    slice_timing: Path | None = None
    slices: Slices = "auto"
    slice_time_ref: float | None = None
    intensity_correction: bool = True
    deformation: Deformation = "none"
    phase_encoding: Literal["i", "j", "k"] | None = None
    device: str = "auto"
    threads: int | None = None
    interpolation: Interpolation = "cubic"
    prefix: str | None = None
    overwrite: bool = False
    fd_radius: float = 50.0
    output_spaces: tuple[str, ...] = ()
    template: tuple[str, ...] = ()
    age: float | None = None


@dataclass(frozen=True)
class Corrected:
    """A raw series, and the results of its correction.

    Columns are those of ``*_motion.tsv``, the summary that of ``*_summary.json``; paths are those
    of the outputs.
    """

    series: Series
    estimate: MotionEstimate
    comparison: Comparison
    columns: Mapping[str, NDArray[Any]]
    summary: dict[str, Any]
    paths: Mapping[str, Path]


Draw = Callable[[Path, Corrected], None]


def correct_file(
    options: Options, report: Report = lambda _share, _what: None, draw: Draw | None = None
) -> Corrected:
    """Correct one file.

    Parameters
    ----------
    options
        The file, where to write, and how.
    report
        Told the share done, and what is being done.
    draw
        Draws the figure; None for no figure.
    """
    started = time.monotonic()
    check_place(options.brain_center, options.brain_extraction, options.mask)
    paths = _output_paths(options, drawn=draw is not None)
    device = torch_device(options.device)
    templates = read_templates(options.output_spaces, options.template, options.age)
    with staged(options.out_dir) as stage:
        places = {key: stage / path.name for key, path in paths.items()}
        series = read_series(options.input)
        if options.threads is not None or series.shape[3] < _MANY_FRAMES:
            torch.set_num_threads(options.threads or 1)
        times, excitation, unfollowed = slices_to_follow(
            options.slice_timing, series, options.slices, options.intensity_correction
        )
        even, uneven = even_times(options.slice_timing, series, options.slice_time_ref)
        axis = phase_encode_axis(series, options.deformation, options.phase_encoding)
        motion, brain = _estimate(series, options, device, report)
        bent, by_frames = None, motion
        if options.deformation != "none":
            report(_ESTIMATION_SHARE, "looking for distortion")
            bent = seek_distortion(series, motion, options.deformation, axis)
            motion = bent.motion
        distortion = None if bent is None else bent.distortion
        how: dict[str, Any] = {
            "distortion": distortion,
            "interpolation": options.interpolation,
            "device": device,
        }
        non_steady = non_steady_frames(series)
        evenly = partial(in_time, even, series, non_steady)
        comparison = write_corrected(
            places["corrected"],
            series,
            motion,
            non_steady=non_steady,
            progress=lambda share: report(
                _ESTIMATION_SHARE + (1 - _ESTIMATION_SHARE) * share, "correcting"
            ),
            then=evenly(moving(motion.poses, distortion)),
            **how,
        )
        columns = motion_columns(motion, comparison, options.fd_radius)
        summary = _about_call(options, device)
        summary |= correction_summary(series, motion, comparison, columns, options.fd_radius)
        summary["non_steady_frames"] = non_steady
        if brain is not None:
            summary["warnings"][:0] = brain.warnings
            summary["brain"] = brain_facts(brain.brain)
        summary["warnings"] += unfollowed + uneven
        summary |= {} if even is None else {"in_time": about_time(even)}
        if templates:
            mask = motion.mask if brain is None else brain.brain.probability
            carried = carry(templates, options.output_spaces, motion, mask, series.grid, device)
            _write_spaces(carried, series, motion, places, evenly, how)
            summary["spaces"] = {str(one.space): one.facts() for one in carried}
            summary["warnings"] += [warning for one in carried for warning in one.warnings]
        if bent is not None:
            summary["distortion"] = about_distortion(bent)
            write_distortion(series, bent, places)
        if times is not None:
            summary["slices"], doubts = write_slices(
                *(series, by_frames, times, places, options.slices, excitation, evenly),
                receive=options.intensity_correction,
            )
            summary["warnings"] += doubts
        paths = {key: path for key, path in paths.items() if _is_made(key, summary)}
        places = {key: places[key] for key in paths}
        done = Corrected(series, motion, comparison, columns, summary, paths)
        _write(done, places, draw, started)
    if options.overwrite:
        _remove_outdated(paths, _inputs(options))
    return done


def _is_made(key: str, summary: Mapping[str, Any]) -> bool:
    """Whether an output is written; those about slices and distortion only if they were used."""
    if key in _DISTORTION_SUFFIXES:
        return bool(summary["distortion"]["corrected"])
    if key not in _SLICE_SUFFIXES:
        return True
    return "slices" in summary and (key == "slices" or summary["slices"]["rebuilt"])


def _inputs(options: Options) -> list[Path]:
    given = (options.input, options.mask, options.slice_timing)
    return [path for path in given if path is not None and path.exists()]


def _remove_outdated(paths: Mapping[str, Path], inputs: Sequence[Path]) -> None:
    """Remove what an earlier call has written about slices or distortion, and this one has not."""
    corrected = paths["corrected"]
    stem = corrected.name.removesuffix(_SUFFIXES["corrected"])
    for suffix in (_SLICE_SUFFIXES | _DISTORTION_SUFFIXES).values():
        old = corrected.with_name(f"{stem}{suffix}")
        if old in paths.values() or not old.exists():
            continue
        if not any(old.samefile(given) for given in inputs):
            old.unlink()


def _output_paths(options: Options, drawn: bool) -> dict[str, Path]:
    """Names of all outputs; refuses to write over the input, or over anything unless asked to."""
    name = options.input.name
    stem = options.prefix or name.removesuffix(".gz").removesuffix(".nii") or name
    if Path(stem).name != stem:
        raise InputError(stem, "this prefix is not a file name", "give a prefix without a slash")
    suffixes = _SUFFIXES | (_SLICE_SUFFIXES if options.slice_timing else {})
    for space in output_spaces(options.output_spaces, options.template):
        suffixes |= {
            f"{space}:{what}": f"_{space.entities}_{end}"
            for what, end in {**_IN_SPACE, "transform": space.xfm}.items()
        }
    if options.deformation != "none":
        suffixes |= _DISTORTION_SUFFIXES
    paths = {
        key: options.out_dir / f"{stem}{suffix}"
        for key, suffix in suffixes.items()
        if drawn or key != "figure"
    }
    check_free(paths.values(), _inputs(options), options.overwrite)
    return paths


def _estimate(
    series: Series, options: Options, device: str, report: Report
) -> tuple[MotionEstimate, SeriesBrain | None]:
    """Estimate motion; also returns the brain, if it was searched for."""
    reference = options.reference
    if reference != "auto":
        check_reference(series, reference)
    if options.mask is not None or options.brain_extraction == "none":
        head, brain, begun = read_head(series, options.mask), None, 0.0
    else:
        report(0, "finding the brain")
        reference = choose_reference(series, reference)
        begun = _BRAIN_SHARE
        brain = find_series_brain(
            series,
            reference,
            method=options.brain_extraction,
            population=options.population,
            place=options.brain_center,
            # the network reads the shape of every frame's brain
            follow=not options.refine or options.tracker == "spaer",
            device=device,
            progress=lambda share: report(_ESTIMATION_SHARE * begun * share, "finding the brain"),
        )
        head = Head(series, brain.motion_mask)

    def partly(done: float, what: str) -> None:
        if done < 1:
            report(_ESTIMATION_SHARE * (begun + (1 - begun) * done), what)

    settings = MotionSettings(fusion=options.fusion, refine=options.refine, tracker=options.tracker)
    return estimate(head, reference, settings=settings, device=device, progress=partly), brain


def _write_spaces(
    carried: Sequence[Carried],
    series: Series,
    motion: MotionEstimate,
    places: Mapping[str, Path],
    evenly: Callable[..., Then | None],
    how: Mapping[str, Any],
) -> None:
    """Write a series that was carried to standard spaces; `how` it is resampled."""
    then = moving(motion.poses, how["distortion"])
    for one in carried:
        corrected, *images = (places[f"{one.space}:{what}"] for what in (*_IN_SPACE, "transform"))
        onto = evenly(then, one.grid, one.pose.warp)
        write_carried(series, motion, one, corrected, then=onto, **how)
        write_images(series, one, *images)


def _about_call(options: Options, device: str) -> dict[str, Any]:
    settings = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in asdict(options).items()
    }
    return {"version": version("unimo-bids"), "settings": settings | {"device": device}}


def _write(done: Corrected, places: Mapping[str, Path], draw: Draw | None, started: float) -> None:
    """Write what has not been written yet, the summary last; open all images once more."""
    series, motion = done.series, done.estimate
    write_itk(places["transforms"], motion.poses)
    write_array(places["poses"], motion.poses)
    before, after = done.comparison.tsnr()
    volumes = {
        "template": motion.template.astype(np.float32),
        "mask": motion.mask.astype(np.float32),
        "tsnr_before": before,
        "tsnr_after": after,
    }
    for name, volume in volumes.items():
        write_volume(places[name], volume, series)
    write_table(places["motion"], done.columns)
    if draw is not None:
        draw(places["figure"], done)
    done.summary["runtime_s"] = round(time.monotonic() - started, 2)
    write_object(places["summary"], done.summary)
    for key, place in places.items():
        if place.name.endswith((".nii", ".nii.gz")):
            check_image(place, done.paths[key])

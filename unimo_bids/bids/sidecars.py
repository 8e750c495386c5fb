"""What the JSON files beside the derivatives of a run say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unimo_bids.bids.names import RunNames, SpaceNames, sidecar
from unimo_bids.bids.query import BoldRun
from unimo_bids.errors import InputError
from unimo_bids.settings import Settings


def sidecars(
    run: BoldRun,
    names: RunNames,
    settings: Settings,
    parameters: Mapping[str, Any],
    about_motion: Mapping[str, Any],
    about_brain: Mapping[str, Any],
) -> dict[Path, dict[str, Any]]:
    """Describe the derivatives of a run, but for the confounds, whose sidecar comes with the table.

    Parameters
    ----------
    parameters
        How the motion was estimated, as JSON can hold it: version, options.
    about_motion
        What its poses are relative to and what was decided, as JSON can hold it.
    about_brain
        How the brain was found, as JSON can hold it: method, doubts, other places that may be it.

    Returns content by path of the JSON file, relative to the output folder.
    """
    raw = [raw_uri(path, settings) for path in run.paths]
    given = [raw_uri(run.motion.transforms, settings)] if run.motion else []
    boldref, motion = own_uri(names.boldref), own_uri(names.transforms)
    of_brain = [*([raw_uri(run.mask, settings)] if run.mask else []), boldref]
    method: dict[str, Any] = {"MotionCorrection": dict(parameters)}
    described = {
        names.boldref: _about(
            "Robust mean of the frames after motion correction", raw, SkullStripped=False, **method
        ),
        names.mask: _about(
            "Brain mask in the space of the reference",
            of_brain,
            boldref,
            Type="Brain",
            **about_brain,
        ),
        names.brain: _about(
            "Soft brain mask in the space of the reference, from 0 to 1", of_brain, boldref
        ),
        names.transforms: _about(
            "Rigid transforms, one per frame, that take points of the reference to the frame (ITK "
            "convention, LPS, mm)",
            [*given, *raw, boldref],
            **about_motion,
            **method,
        ),
        names.tsnr_before: _about(_TSNR.format("before"), raw[:1], boldref),
        names.tsnr_after: _about(_TSNR.format("after"), [*raw[:1], motion], boldref),
    }
    for number, path in enumerate(names.bold):
        sources = [raw[number], motion, boldref]
        described[path] = _corrected(run, number, sources, boldref) | method
    return {sidecar(path): content for path, content in described.items()}


def slice_sidecars(run: BoldRun, names: RunNames, settings: Settings) -> dict[Path, dict[str, Any]]:
    """Describe the coverage by slices; the sidecar of the slices' table comes with the table."""
    coverage = _about(
        "How closely slices came to each place in each frame, per cent: 100 as in a frame at rest; "
        "below 50 the corrected series is 0",
        [raw_uri(run.paths[0], settings), own_uri(names.slices)],
        own_uri(names.boldref),
        Units="percent",
    )
    return {sidecar(names.coverage): coverage}


def distortion_sidecars(
    run: BoldRun,
    names: RunNames,
    settings: Settings,
    coefficients: Mapping[str, Any],
    about: Mapping[str, Any],
) -> dict[Path, dict[str, Any]]:
    """Describe the distortion of a run; the field itself is a JSON file."""
    sources = [raw_uri(run.paths[0], settings), own_uri(names.boldref)]
    if run.field_map is not None and about.get("field_map"):
        sources += [raw_uri(path, settings) for path in run.field_map.paths]
    field = _about(
        "Distortion fixed in the scanner, D(y) = y + d(y) a: what is at x in the reference is seen "
        f"at D^-1(T D(x)) in a frame whose transform in {names.transforms.name} is T",
        [*sources, own_uri(names.transforms)],
        **coefficients,
    )
    displacement = _about(
        "How far along the phase-encode axis a voxel's signal is from where it belongs, up to what "
        "no motion shows",
        [own_uri(names.distortion)],
        own_uri(names.boldref),
        Units="mm",
    )
    return {names.distortion: field, sidecar(names.displacement): displacement}


def space_sidecars(
    run: BoldRun,
    names: RunNames,
    in_space: SpaceNames,
    settings: Settings,
    parameters: Mapping[str, Any],
    about: Mapping[str, Any],
    way: Path | None = None,
) -> dict[Path, dict[str, Any]]:
    """Describe the derivatives of a run in a standard space.

    Parameters
    ----------
    about
        How the run got there, as JSON can hold it.
    way
        Another program's transform, on from the anatomical image that the run's leads to.
    """
    boldref, template = own_uri(names.boldref), about["Template"]
    ways = [own_uri(in_space.transform), *([raw_uri(way, settings)] if way else [])]
    method: dict[str, Any] = {
        "MotionCorrection": dict(parameters),
        "SpatialNormalization": dict(about),
    }
    described = {
        in_space.boldref: _about(
            "Robust mean of the frames after motion correction, in a standard space",
            [boldref, *ways],
            template,
            SkullStripped=False,
            **method,
        ),
        in_space.mask: _about(
            "Brain mask of the run in a standard space",
            [own_uri(names.brain), *ways],
            template,
            Type="Brain",
        ),
        in_space.transform: _about(
            f"Takes points of {about.get('Through', 'the standard space')} to the reference (ITK "
            f"convention, LPS, mm), {about['TransformType']}",
            [boldref],
            **about,
        ),
    }
    for number, path in enumerate(in_space.bold):
        sources = [raw_uri(run.paths[number], settings), own_uri(names.transforms), *ways]
        described[path] = _corrected(run, number, sources, template) | method
    return {sidecar(path): content for path, content in described.items()}


_TSNR = (
    "Temporal signal-to-noise ratio {} motion correction, of the frames that could be registered "
    "and are in steady state"
)


def _about(text: str, sources: list[str], space: str | None = None, **more: Any) -> dict[str, Any]:
    """Fields that every sidecar has, and `more`; `space` is the image that defines the grid."""
    about = {"Description": text, "Sources": sources}
    return about | ({} if space is None else {"SpatialReference": space}) | more


def _corrected(run: BoldRun, echo: int, sources: list[str], space: str) -> dict[str, Any]:
    """Sidecar of a corrected series, in whatever space."""
    return _about(
        "Motion-corrected series, resampled once from the raw frames",
        sources,
        space,
        SkullStripped=False,
        SliceTimingCorrected=False,
        StartTime=0.0,
        TaskName=run.metadata.get("TaskName", run.entities["task"]),
        **_timing(run),
        **_echo_time(run, echo),
    )


def raw_uri(path: Path, settings: Settings) -> str:
    """BIDS URI of an input, ``bids:raw:sub-01/func/…``; the names are in DatasetLinks."""
    datasets = {"raw": settings.bids_dir, **settings.derivatives}
    holding = {name: one for name, one in datasets.items() if path.is_relative_to(one)}
    if not holding:
        remedy = "add its dataset to --derivatives"
        raise InputError(path, "it lies in none of the datasets", remedy)
    # derivatives may lie within the raw dataset: the innermost is meant
    name = max(holding, key=lambda one: len(holding[one].parts))
    return f"bids:{name}:{path.relative_to(holding[name]).as_posix()}"


def own_uri(path: Path) -> str:
    """BIDS URI of a derivative from its path in the output folder, ``bids::sub-01/func/…``."""
    return f"bids::{path.as_posix()}"


def _timing(run: BoldRun) -> dict[str, Any]:
    if run.volume_timing is not None:
        return {"VolumeTiming": list(run.volume_timing)} | _acquisition(run)
    return {} if run.repetition_time is None else {"RepetitionTime": run.repetition_time}


def _acquisition(run: BoldRun) -> dict[str, Any]:
    """How long a frame took, which BIDS requires beside VolumeTiming."""
    names = ("AcquisitionDuration", "FrameAcquisitionDuration", "SliceTiming")
    return {name: run.metadata[name] for name in names if name in run.metadata}


def _echo_time(run: BoldRun, number: int) -> dict[str, float]:
    complete = len(run.echo_times) == len(run.paths)
    return {"EchoTime": run.echo_times[number]} if complete else {}

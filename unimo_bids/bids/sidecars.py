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
    """Describe the derivatives of a run; all but the confounds, whose table knows its columns.

    Parameters
    ----------
    parameters
        How the motion was estimated, as JSON can hold it: version, options.
    about_motion
        What its poses are relative to and what was decided, as JSON can hold it.
    about_brain
        How the brain was found, as JSON can hold it: method, doubts, other places that may be it.

    Returns
    -------
    dict
        Content by path of the JSON file, relative to the output folder.
    """
    raw = [raw_uri(path, settings) for path in run.paths]
    mask = [raw_uri(run.mask, settings)] if run.mask else []
    given = [raw_uri(run.motion.transforms, settings)] if run.motion else []
    here = {one: own_uri(one) for one in names.all}
    boldref = here[names.boldref]
    method = {"MotionCorrection": dict(parameters)}
    described: dict[Path, dict[str, Any]] = {
        names.boldref: {
            "Description": "Robust mean of the frames after motion correction",
            "Sources": raw,
            "SkullStripped": False,
            **method,
        },
        names.mask: {
            "Description": "Brain mask in the space of the reference",
            "Type": "Brain",
            "Sources": [*mask, boldref],
            "SpatialReference": boldref,
            **about_brain,
        },
        names.brain: {
            "Description": "Soft brain mask in the space of the reference, from 0 to 1",
            "Sources": [*mask, boldref],
            "SpatialReference": boldref,
        },
        names.transforms: {
            "Description": "Rigid transforms, one per frame, that take points of the reference to "
            "the frame (ITK convention, LPS, mm)",
            "Sources": [*given, *raw, boldref],
            **about_motion,
            **method,
        },
    }
    motion = here[names.transforms]
    for number, path in enumerate(names.bold):
        described[path] = {
            **_corrected(run, number),
            "Sources": [raw[number], motion, boldref],
            "SpatialReference": boldref,
            **method,
        }
    described[names.tsnr_before] = _tsnr("before", raw[:1], boldref)
    described[names.tsnr_after] = _tsnr("after", [*raw[:1], motion], boldref)
    return {sidecar(path): content for path, content in described.items()}


def slice_sidecars(run: BoldRun, names: RunNames, settings: Settings) -> dict[Path, dict[str, Any]]:
    """Describe what only a run has whose slices were followed; the table knows its columns."""
    coverage = {
        "Description": "How closely slices came to each place in each frame, per cent: 100 as in a"
        " frame at rest; below 50 the corrected series is 0",
        "Sources": [raw_uri(run.paths[0], settings), own_uri(names.slices)],
        "SpatialReference": own_uri(names.boldref),
        "Units": "percent",
    }
    return {sidecar(names.coverage): coverage}


def distortion_sidecars(
    run: BoldRun,
    names: RunNames,
    settings: Settings,
    coefficients: Mapping[str, Any],
    about: Mapping[str, Any],
) -> dict[Path, dict[str, Any]]:
    """Describe what only a run has whose distortion was undone; the field is its own sidecar."""
    sources = [raw_uri(run.paths[0], settings), own_uri(names.boldref)]
    if run.field_map is not None and about.get("field_map"):
        sources += [raw_uri(path, settings) for path in run.field_map.paths]
    field = {
        "Description": "Distortion fixed in the scanner, D(y) = y + d(y) a: what is at x in the "
        "reference is seen at D^-1(T D(x)) in a frame whose transform in "
        f"{names.transforms.name} is T",
        "Sources": [*sources, own_uri(names.transforms)],
        **coefficients,
    }
    displacement = {
        "Description": "How far along the phase-encode axis a voxel's signal is from where it "
        "belongs, up to what no motion shows",
        "Sources": [own_uri(names.distortion)],
        "SpatialReference": own_uri(names.boldref),
        "Units": "mm",
    }
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
    boldref = own_uri(names.boldref)
    ways = [own_uri(in_space.transform), *([raw_uri(way, settings)] if way else [])]
    method = {"MotionCorrection": dict(parameters), "SpatialNormalization": dict(about)}
    reference = {"SpatialReference": about["Template"]}
    described: dict[Path, dict[str, Any]] = {
        in_space.boldref: {
            "Description": "Robust mean of the frames after motion correction, in a standard space",
            "Sources": [boldref, *ways],
            "SkullStripped": False,
            **reference,
            **method,
        },
        in_space.mask: {
            "Description": "Brain mask of the run in a standard space",
            "Type": "Brain",
            "Sources": [own_uri(names.brain), *ways],
            **reference,
        },
        in_space.transform: {
            "Description": f"Takes points of {about.get('Through', 'the standard space')} to the "
            f"reference (ITK convention, LPS, mm), {about['TransformType']}",
            "Sources": [boldref],
            **about,
        },
    }
    for number, path in enumerate(in_space.bold):
        described[path] = {
            **_corrected(run, number),
            "Sources": [raw_uri(run.paths[number], settings), own_uri(names.transforms), *ways],
            **reference,
            **method,
        }
    return {sidecar(path): content for path, content in described.items()}


def _corrected(run: BoldRun, echo: int) -> dict[str, Any]:
    """What is known of a corrected series whatever it was made of."""
    return {
        "Description": "Motion-corrected series, resampled once from the raw frames",
        "SkullStripped": False,
        "SliceTimingCorrected": False,
        "StartTime": 0.0,
        "TaskName": run.metadata.get("TaskName", run.entities["task"]),
        **_timing(run),
        **_echo_time(run, echo),
    }


def _tsnr(when: str, sources: list[str], boldref: str) -> dict[str, Any]:
    return {
        "Description": f"Temporal signal-to-noise ratio {when} motion correction, of the frames "
        "that could be registered and are in steady state",
        "Sources": sources,
        "SpatialReference": boldref,
    }


def raw_uri(path: Path, settings: Settings) -> str:
    """BIDS URI of an input, ``bids:raw:sub-01/func/…``; the names are in DatasetLinks."""
    datasets = {"raw": settings.bids_dir, **settings.derivatives}
    holding = {name: one for name, one in datasets.items() if path.is_relative_to(one)}
    if not holding:
        raise InputError(
            path, "it lies in none of the datasets", "add its dataset to --derivatives"
        )
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
    """How long a frame took, which BIDS wants to know where times are uneven."""
    names = ("AcquisitionDuration", "FrameAcquisitionDuration", "SliceTiming")
    return {name: run.metadata[name] for name in names if name in run.metadata}


def _echo_time(run: BoldRun, number: int) -> dict[str, float]:
    complete = len(run.echo_times) == len(run.paths)
    return {"EchoTime": run.echo_times[number]} if complete else {}

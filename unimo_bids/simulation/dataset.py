"""Simulated series as a small BIDS dataset, with the truth beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from unimo_bids.files.objects import write_object
from unimo_bids.simulation.series import SimulatedSeries

# Entities in the order BIDS prescribes for func/*_bold
_ENTITIES = re.compile(
    r"sub-(?P<sub>[A-Za-z0-9]+)(_ses-(?P<ses>[A-Za-z0-9]+))?_task-(?P<task>[A-Za-z0-9]+)"
    r"(_acq-[A-Za-z0-9]+)?(_ce-[A-Za-z0-9]+)?(_rec-[A-Za-z0-9]+)?(_dir-[A-Za-z0-9]+)?"
    r"(_run-[0-9]+)?(_echo-[0-9]+)?"
)

_README = """Simulated fMRI
==============

Every frame was rendered from a continuous object by unimo_bids.simulation: no scan of a person.
The true poses, brain masks and activations are in sourcedata/truth/: `*_poses.npy` holds
(T, 4, 4) matrices in RAS mm that take the reference frame to every frame.
"""


def write_bids_dataset(
    folder: str | Path,
    series: Mapping[str, SimulatedSeries],
    participants: Mapping[str, Mapping[str, object]] | None = None,
) -> Path:
    """Write series as BIDS, with the truth in ``sourcedata/truth``.

    Parameters
    ----------
    series
        By their entities, ``{"sub-01_task-rest": ..., "sub-02_ses-1_task-rest_run-1": ...}``.
    participants
        Columns of ``participants.tsv`` by label, the same for all.
    """
    folder = Path(folder)
    parsed = {entities: _parsed(entities) for entities in series}
    folder.mkdir(parents=True, exist_ok=True)
    about = {"Name": "Simulated fMRI with known motion", "BIDSVersion": "1.9.0"}
    about |= {"DatasetType": "raw", "License": "CC0"}
    write_object(folder / "dataset_description.json", about)
    (folder / "README").write_text(_README)
    subjects = sorted({match["sub"] for match in parsed.values()})
    known = participants or {}
    columns = list(next(iter(known.values()), {}))
    rows = ["\t".join(["participant_id", *columns])]
    for subject in subjects:
        cells = [str(known.get(subject, {}).get(column, "n/a")) for column in columns]
        rows.append("\t".join([f"sub-{subject}", *cells]))
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n")
    for entities, match in parsed.items():
        place = _place(match)
        _write_run(folder / place / "func", entities, match["task"], series[entities])
        _write_truth(folder / "sourcedata" / "truth" / place, entities, series[entities])
    return folder


def write_mask_dataset(folder: str | Path, series: Mapping[str, SimulatedSeries]) -> Path:
    """Write the true brain masks of every frame as a derivatives dataset, as a tracker would."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "Name": "True brain masks",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "unimo_bids.simulation"}],
    }
    write_object(folder / "dataset_description.json", about)
    for entities, one in series.items():
        place = folder / _place(_parsed(entities)) / "func"
        place.mkdir(parents=True, exist_ok=True)
        mask = one.brain_masks()
        _image(mask, one.affine).to_filename(place / f"{entities}_desc-brain_mask.nii.gz")
    return folder


def _parsed(entities: str) -> re.Match[str]:
    match = _ENTITIES.fullmatch(entities)
    if match is None:
        raise ValueError(f"{entities!r} is not like sub-01[_ses-1]_task-rest[_run-1]")
    return match


def _place(match: re.Match[str]) -> Path:
    return Path(f"sub-{match['sub']}", f"ses-{match['ses']}" if match["ses"] else "")


def _write_run(folder: Path, entities: str, task: str, series: SimulatedSeries) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # whole numbers, as scanners deliver them; the brain is at about 1000
    data = np.clip(np.rint(series.data), 0, np.iinfo(np.int16).max).astype(np.int16)
    image = _image(data, series.affine)
    image.header.set_zooms((*image.header.get_zooms()[:3], series.repetition_time))
    image.to_filename(folder / f"{entities}_bold.nii.gz")
    about = {"TaskName": task, "RepetitionTime": series.repetition_time}
    write_object(folder / f"{entities}_bold.json", about)


def _write_truth(folder: Path, entities: str, series: SimulatedSeries) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{entities}_poses.npy", series.poses)
    np.save(folder / f"{entities}_brainpoints.npy", series.brain_points)
    mask = (series.brain > 0.5).astype(np.uint8)
    _image(mask, series.affine).to_filename(folder / f"{entities}_desc-brain_mask.nii.gz")
    about = {"Anatomy": series.name, "ReferenceFrame": series.reference}
    write_object(folder / f"{entities}_truth.json", about)
    if series.activation is not None:
        path = folder / f"{entities}_desc-activation_boldmap.nii.gz"
        _image(series.activation.map, series.affine).to_filename(path)
        np.save(folder / f"{entities}_regressor.npy", series.activation.regressor)


def _image(
    data: NDArray[np.int16] | NDArray[np.uint8] | NDArray[np.float32], affine: NDArray[np.float64]
) -> nib.nifti1.Nifti1Image:
    image = nib.nifti1.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    return image

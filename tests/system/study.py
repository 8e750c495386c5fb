"""A small raw dataset of every kind of run, its motion known, and the program as users call it.

The head is the phantom of the motion tests, on 24 × 24 × 16 voxels and 12 frames.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from tests import phantom
from unimo_bids.spatial import rigid

SHAPE, FRAMES, TR = (24, 24, 16), 12, 2.0
AFFINE = phantom.grid_affine((4.0, 4.0, 5.0), shape=SHAPE)
# of frames that lie unevenly in time, s
ONSETS = tuple(float(t) for t in (0, 2, 4, 6, 8, 11, 13, 15, 17, 20, 22, 24))

RUNS = (
    "sub-01_ses-a_task-rest_run-1",
    "sub-01_ses-a_task-rest_run-2",
    "sub-01_ses-b_task-rest",
    "sub-02_task-uneven",
)
PROGRAM = Path(sys.executable).with_name("unimo-bids")


def motion(seed: int) -> torch.Tensor:
    """Poses of a head that drifts a little, and jumps before frame 7, ``(T, 4, 4)``."""
    random = np.random.default_rng(seed)
    turns = np.cumsum(random.normal(0, 0.001, (FRAMES, 3)), axis=0)
    shifts = np.cumsum(random.normal(0, 0.05, (FRAMES, 3)), axis=0)
    turns[7:] += random.choice((-0.07, 0.05, 0.09), 3)
    shifts[7:] += random.choice((-3.0, 1.5, 2.5), 3)
    poses = [
        rigid.from_parameters(phantom.f64(turn), phantom.f64(shift))
        for turn, shift in zip(turns, shifts, strict=True)
    ]
    return torch.stack(poses)


def frames(seed: int, gain: float = 10.0, noise: float = 6.0) -> np.ndarray:
    """The head in motion as a scanner would deliver it, ``(X, Y, Z, T)`` int16."""
    random = np.random.default_rng(seed + 1000)
    volumes = phantom.volumes(motion(seed), affine=AFFINE, shape=SHAPE).numpy()
    data = gain * np.moveaxis(volumes, 0, -1)
    return np.rint(np.abs(data + random.normal(0, noise, data.shape))).astype(np.int16)


def image(path: Path, data: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = nib.Nifti1Image(data, AFFINE.numpy())
    made.header.set_xyzt_units("mm", "sec")
    if data.ndim == 4:
        made.header.set_zooms((*made.header.get_zooms()[:3], TR))
    made.to_filename(path)
    return path


def note(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content) + "\n")
    return path


def describe(folder: Path, participants: Sequence[str], kind: str = "raw") -> Path:
    """What BIDS wants at the top of a dataset."""
    about = {"Name": "a study", "BIDSVersion": "1.10.0", "DatasetType": kind, "License": "CC0"}
    if kind == "derivative":
        about["GeneratedBy"] = [{"Name": "a tracker"}]  # type: ignore[assignment]
    note(folder / "dataset_description.json", about)
    if kind == "raw":
        (folder / "README").write_text("Synthetic series of a moving phantom, without people.\n")
        rows = ["participant_id\tage", *(f"sub-{label}\t30" for label in participants)]
        (folder / "participants.tsv").write_text("\n".join(rows) + "\n")
        note(folder / "participants.json", {"age": {"Description": "age", "Units": "years"}})
        note(folder / "task-rest_bold.json", {"TaskName": "rest", "RepetitionTime": TR})
    return folder


def write_study(folder: Path) -> Path:
    """Sessions, runs, echoes, ``.nii``, inherited sidecars, an sbref, uneven times."""
    describe(folder, ["01", "02"])
    func = folder / "sub-01" / "ses-a" / "func"
    image(func / f"{RUNS[0]}_bold.nii.gz", frames(1))
    image(func / f"{RUNS[1]}_bold.nii", frames(2))
    # as most scanners tell them; the head rests while a frame is taken, so slices are not followed
    times = [TR * (i % 2 + i / SHAPE[2]) / 2 for i in range(SHAPE[2])]
    note(func / f"{RUNS[1]}_bold.json", {"SliceTiming": times})
    func = folder / "sub-01" / "ses-b" / "func"
    for echo, (gain, time) in enumerate(((10.0, 0.012), (5.0, 0.03)), start=1):
        name = f"{RUNS[2]}_echo-{echo}"
        image(func / f"{name}_bold.nii.gz", frames(3, gain=gain))
        note(func / f"{name}_bold.json", {"EchoTime": time})
    sbref = 10 * phantom.volume(motion(30)[3], affine=AFFINE, shape=SHAPE).numpy()
    image(func / f"{RUNS[2]}_echo-1_sbref.nii.gz", np.rint(sbref).astype(np.int16))
    note(func / f"{RUNS[2]}_echo-1_sbref.json", {"TaskName": "rest", "EchoTime": 0.012})
    func = folder / "sub-02" / "func"
    image(func / f"{RUNS[3]}_bold.nii.gz", frames(4))
    uneven = {"TaskName": "uneven", "VolumeTiming": ONSETS, "AcquisitionDuration": 1.9}
    note(folder / "task-uneven_bold.json", uneven)
    return folder


def write_masks(folder: Path) -> Path:
    """Where the brain is in every frame of the first run, as a tracker would have found it."""
    describe(folder, ["01"], "derivative")
    air = phantom.volumes(motion(1), affine=AFFINE, shape=SHAPE).numpy()
    mask = np.moveaxis(air > 30, 0, -1).astype(np.uint8)
    func = folder / "sub-01" / "ses-a" / "func"
    image(func / f"{RUNS[0]}_desc-brain_mask.nii.gz", mask)
    return folder


@dataclass(frozen=True)
class Finished:
    """How a call of the program ended."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        return self.err.splitlines()[-1] if self.err else ""


def environment(**changes: str) -> dict[str, str]:
    # DENO_DIR and MPLCONFIGDIR would spare the program the search for a place to write
    kept = {k: v for k, v in os.environ.items() if k not in ("DENO_DIR", "MPLCONFIGDIR")}
    return kept | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"} | changes


def start(
    *words: object,
    prefix: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    nprocs: int = 2,
    program: Sequence[str] = (str(PROGRAM),),
) -> subprocess.Popen[str]:
    # sums depend on the number of threads, in their last digit
    machine = ("--nprocs", str(nprocs), "--omp-nthreads", "1", "--device", "cpu")
    return subprocess.Popen(
        [*prefix, *program, *map(str, words), *machine],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(env or environment()),
        cwd=cwd,
    )


def ended(process: subprocess.Popen[str], seconds: float = 400) -> Finished:
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return Finished(process.returncode, out, err)


def call(*words: object, **options: object) -> Finished:
    return ended(start(*words, **options))  # type: ignore[arg-type]


def derivatives(out: Path) -> Iterator[Path]:
    """All that must not depend on when and where it was made, relative to the output folder.

    Not the pages, which tell the date, the command and how long it took; nor the logs; nor the
    description and the methods' text of the whole dataset, which tests compare by themselves.
    """
    for path in sorted(out.rglob("*")):
        within = path.relative_to(out)
        told = within.suffix == ".html" or "log" in within.parts
        if path.is_file() and not told:
            yield within


def digests(out: Path, under: str = "") -> dict[str, str]:
    return {
        str(path): hashlib.sha256((out / path).read_bytes()).hexdigest()
        for path in derivatives(out)
        if str(path).startswith(under)
    }


def leftovers(folder: Path) -> list[Path]:
    """Hidden files: what was being written, and locks."""
    return [path for path in folder.rglob(".*") if path.name != ".bidsignore"]

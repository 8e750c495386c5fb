from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import nibabel as nib
import numpy as np
import pytest

from unimo_bids.brain.mask import Candidate
from unimo_bids.files.tables import write_table
from unimo_bids.pipeline.rebuilt import SliceResult
from unimo_bids.reports.drawing import draw_run
from unimo_bids.reports.record import BendingRecord, RunRecord, TrackRecord
from unimo_bids.reports.reportlets import SECTIONS

# permuted, flipped, oblique, anisotropic: nothing may rely on a plain grid
AFFINE = np.array([[0.2, 0, 3.0, -9], [-3.0, 0.1, 0.2, 20], [0, 4.0, 0.1, -20], [0, 0, 0, 1]])
SHAPE = (14, 11, 12)


# the figure of standard spaces is drawn where they are made
DRAWN = [section for section in SECTIONS if section.what != "spaces"]


def make_record(
    folder: Path, entities: str = "sub-01_task-rest", frames: int = 12, shape=SHAPE, **changes
):
    """A ball that jumps along the first axis in frame 3, and its correction."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    grid = np.indices(shape).transpose(1, 2, 3, 0) - (np.array(shape) - 1) / 2
    radii = np.array([4.5, 3.5, 4]) * shape / SHAPE
    ball = (np.linalg.norm(grid / radii, axis=-1) < 1).astype(float)
    masks = np.repeat(ball[..., None], frames, axis=-1)
    still = 1000 * ball[..., None] + rng.normal(50, 5, (*shape, frames))
    moved = still.copy()
    if frames > 3:
        moved[..., 3] = np.roll(still[..., 3], 3, axis=0)
        masks[..., 3] = np.roll(ball, 3, axis=0)

    def save(name: str, data: np.ndarray, kind: type = np.float32) -> Path:
        image = nib.Nifti1Image(data.astype(kind), AFFINE)
        image.header.set_xyzt_units("mm", "sec")
        image.to_filename(folder / f"{name}.nii.gz")
        return folder / f"{name}.nii.gz"

    poses = np.tile(np.eye(4), (frames, 1, 1))
    parameters = np.zeros((frames, 6))
    fd = np.r_[np.nan, np.full(frames - 1, 0.1)]
    status = ["ok"] * frames
    if frames > 4:
        poses[3, :3, 3] = parameters[3, :3] = [0, -9, 0]
        fd[3:5] = 9
        status[3] = "searched"
    confounds = folder / "confounds.tsv"
    columns = {"trans_x": rng.normal(size=frames), "framewise_displacement": fd}
    write_table(confounds, columns | {"global_signal": rng.normal(size=frames)})
    given = {
        "entities": entities,
        "original": save("original", moved, np.int16),
        "corrected": save("corrected", still, np.int16),
        "boldref": save("boldref", still.mean(axis=-1)),
        "mask": save("mask", ball, np.uint8),
        "probability": save("probability", ball),
        "motion_mask": save("masks", masks, np.uint8),
        "tsnr_before": save("before", 20 * ball),
        "tsnr_after": save("after", 40 * ball),
        "confounds": confounds,
        "poses": poses,
        "center": np.zeros(3),
        "parameters": parameters,
        "deviations": np.full((frames, 6), 0.01),
        "fd_before": fd,
        "fd_after": fd / 10,
        "similarity_before": np.full(frames, 0.8),
        "similarity_after": np.full(frames, 0.95),
        "status": status,
        "uncorrected": np.nan_to_num(fd) > 0.5,
        "fd_threshold": 0.5,
        "reference": 0,
        "reference_volume": save("reference", still[..., 0]),
        "candidates": (Candidate((-3, -5, 1), 2.3, 0.9), Candidate((-20, 4, 3), 5, 0.35)),
        "chosen": True,
        "slices": SliceResult(
            axis=2,
            times=np.arange(shape[2], dtype=float),
            poses=np.tile(np.eye(4), (frames, shape[2], 1, 1)),
            gains=np.ones((frames, shape[2])),
            within_max=np.linspace(0, 2, frames),
            within_rms=np.zeros(frames),
            saved=np.zeros(frames, dtype=bool),
            whole=np.zeros(frames, dtype=bool),
        ),
        "coverage": np.ones(frames),
        "bending": BendingRecord(
            "j",
            save("displacement", np.where(ball, grid[..., 0], 0)),
            {"i": 0.1, "j": 0.3, "k": -0.02},
            np.linspace(0, 1, frames),
            np.linspace(0, 3, frames),
        ),
        "track": TrackRecord(
            np.full(frames, 0.3), parameters, np.full((frames, 6), 0.4), np.full(frames, 0.8)
        ),
        "facts": {"Frames": str(frames)},
        "warnings": ("The repetition time was guessed.",),
        "numbers": {"fd_mean": np.float64(1.75), "fd_median": float("nan"), "frames": frames,
                    "tsnr_gain": 2.0, "censored_percent": 16.7, "uncorrected_percent": 8.3,
                    "lost": 0},
    }  # fmt: skip
    return RunRecord(**(given | changes))


@pytest.fixture
def record(tmp_path):
    return make_record(tmp_path / "data")


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """Files of a run that was drawn once, the only ones in their folder."""
    folder, settings = tmp_path_factory.mktemp("drawn"), dict(mpl.rcParams)
    written = draw_run(make_record(folder / "data"), folder / "figures")
    assert dict(mpl.rcParams) == settings
    return written


@pytest.fixture(scope="session")
def derivatives(drawn, tmp_path_factory):
    """Figures of three runs of one participant and one of another; not to be changed."""
    root = tmp_path_factory.mktemp("derivatives")
    for entities in (
        "sub-01_ses-2_task-rest_run-10",
        "sub-01_ses-2_task-rest_run-9",
        "sub-01_ses-1_task-rest",
        "sub-02_task-rest",
    ):  # all runs look alike, and drawing takes seconds
        folder = root / entities.partition("_")[0] / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        for path in drawn:
            content = path.read_bytes().replace(b"sub-01_task-rest", entities.encode())
            name = path.name.replace("sub-01_task-rest", entities)
            (folder / name).write_bytes(content)
    return root

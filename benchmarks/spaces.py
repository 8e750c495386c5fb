"""From a run straight to a template: adults' real runs, synthetic adults, fetuses.

``epi``: real adult runs and the MNI152 that nilearn carries, by the Dice of the brain masks where
the run saw the place. ``adult``: one person's label map as T1-like template, other people's in
three contrasts at any orientation; landmarks are the centroids of 19 structures. ``fetal``: a
label map as T2-like template, those of other ages, EPI-like, at any orientation; the truth is the
similarity transform that carries the tissues' centroids over, landmarks are these. ``stacks``: real
whole-uterus EPI and the template of 31 weeks, against eyes and brain centre, marked by hand: good
to about 10°, as the template's eyes are only expected places.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from benchmarks.metrics import Float, angle, kabsch
from benchmarks.modalities import T1, T2, Modality, rendered
from benchmarks.pairs import landmarks
from unimo_bids.brain.extraction import extract_brain
from unimo_bids.files.series import read_series
from unimo_bids.markdown import markdown_table
from unimo_bids.motion.estimation import estimate_motion
from unimo_bids.simulation import fetal, kinematics
from unimo_bids.simulation.anatomy import ADULT_INTENSITIES, Anatomy
from unimo_bids.simulation.labelmaps import read_label_map
from unimo_bids.simulation.shapes import centered_affine
from unimo_bids.spaces.standard import Head, SpacePose, find_space
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.warp import Affine

PARTS = ("epi", "adult", "fetal", "stacks")
_GRID = centered_affine((80, 80, 80), 3.0)
# thalamus, caudate, putamen, pallidum, hippocampus, amygdala, lateral ventricle, cerebellum, both
# sides; third and fourth ventricle, brainstem
_STRUCTURES = (10, 49, 11, 50, 12, 51, 13, 52, 17, 53, 18, 54, 4, 43, 8, 47, 14, 15, 16)
_ADULT_BRAIN = (*_STRUCTURES, 2, 3, 5, 7, 26, 28, 41, 42, 44, 46, 58, 60, 77, 85)
# nothing, white, ventricle, cerebellum, fluid, cortex, deep grey, brainstem, callosum
_T2_FETAL = np.array([0, 900, 1700, 600, 1700, 500, 550, 600, 700], dtype=np.float32)
_CONTRASTS = {
    "EPI-like": np.array(ADULT_INTENSITIES, dtype=np.float32),
    "T1-like": T1,
    "T2-like": T2,
}
_FETAL_TEMPLATES = (25, 28, 31)
_RIGHT_DEG, _RIGHT_MM, _RIGHT_REAL_DEG = 10.0, 4.0, 25.0


@dataclass(frozen=True)
class Case:
    """One run carried to a template.

    Attributes
    ----------
    apart
        ``(N,)`` mm, of the landmarks from where they truly are; empty if that is unknown.
    degrees
        Angle from the true rotation; NaN if unknown.
    stiff
        The same by the affine alone.
    least
        ``(N,)`` mm, of the landmarks from where the affine that fits them best has them.
    """

    name: str
    found: SpacePose
    seconds: float
    apart: Float = field(default_factory=lambda: np.array([]))
    degrees: float = np.nan
    stiff: Float = field(default_factory=lambda: np.array([]))
    least: Float = field(default_factory=lambda: np.array([]))

    @property
    def mm(self) -> float:
        """Mean distance of the landmarks; NaN if unknown."""
        return float(self.apart.mean()) if self.apart.size else np.nan

    @property
    def stiff_mm(self) -> float:
        """The same by the affine alone."""
        return float(self.stiff.mean()) if self.stiff.size else np.nan


def judge(data: Path, only: Sequence[str], count: int, threads: int) -> int:
    """Print a table of each part."""
    torch.set_num_threads(threads)
    parts = {"epi": _epi, "adult": _adult, "fetal": _fetal, "stacks": _stacks}
    for part in only or PARTS:
        cases = []
        columns = ["", "mm", "affine", "degrees", "Dice", "affine", "gain", "bent", "seen"]
        lines = [[*columns, "lead, nats", "start", "doubts", "s"]]
        for case in parts[part](data, count):
            found = case.found
            cases.append(case)
            lines.append(
                [
                    *(case.name, f"{case.mm:.2f}", f"{case.stiff_mm:.2f}", f"{case.degrees:.1f}"),
                    *(f"{found.dice:.3f}", f"{found.overlap:.3f}", *_bent(found)),
                    *(f"{found.seen:.2f}", f"{found.lead:.3f}", found.start),
                    *("; ".join(found.doubts), f"{case.seconds:.0f}"),
                ]
            )
            print(part, *lines[-1], flush=True)
        print(f"{part}\n{markdown_table(lines)}\n{_summary(part, cases)}", flush=True)
    return 0


def _summary(part: str, cases: list[Case]) -> str:
    doubted = np.array([bool(case.found.doubts) for case in cases])
    if part == "epi":
        dice = np.array([case.found.dice for case in cases])
        stiff = np.array([case.found.overlap for case in cases])
        return (
            f"Dice: median {np.median(dice):.3f}, least {dice.min():.3f}; by the affine "
            f"median {np.median(stiff):.3f}, least {stiff.min():.3f}; lower than by the affine "
            f"{np.sum(dice < stiff)}; doubted {doubted.sum()}"
        )
    mm, degrees = (np.array([getattr(case, what) for case in cases]) for what in ("mm", "degrees"))
    within = {
        "adult": mm < np.inf,
        "fetal": (degrees < _RIGHT_DEG) & (mm < _RIGHT_MM),
        "stacks": degrees < _RIGHT_REAL_DEG,
    }[part]
    apart, stiff, least = (
        np.concatenate([getattr(case, what) for case in cases])
        for what in ("apart", "stiff", "least")
    )
    worse = sum(case.mm > case.stiff_mm for case in cases)
    best = f" (of the best affine {np.median(least):.2f})" if least.size else ""
    return (
        f"landmarks: median {np.median(apart):.2f} mm, by the affine {np.median(stiff):.2f}{best}; "
        f"mean farther than by the affine {worse} of {len(cases)}; "
        f"rotation: median {np.nanmedian(degrees):.1f} degrees; "
        f"right {within.sum()} of {len(cases)}; wrong, not doubted {np.sum(~within & ~doubted)}; "
        f"right, doubted {np.sum(within & doubted)}"
    )


def _timed(template: Head, run: Head) -> tuple[SpacePose, float]:
    started = time.perf_counter()
    found = find_space(template, run)
    return found, time.perf_counter() - started


# ------------------------------------------------------------------------------------ real adults
def _epi(data: Path, _count: int) -> Iterator[Case]:
    template = mni152()
    for path in sorted((data / "epi").glob("sub-*/func/*_bold.nii.gz")):
        series = read_series(path)
        brain = extract_brain(series.frame(0), series.affine)
        motion = estimate_motion(series, series.affine, mask=brain.probability)
        run = Head(motion.template, motion.mask, series.grid)
        yield Case(path.name.split("_")[0], *_timed(template, run))


@cache
def mni152() -> Head:
    """The MNI152 2009a, symmetric, that comes with nilearn."""
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

    image, mask = load_mni152_template(2), load_mni152_brain_mask(2)
    volumes = (np.asarray(one.dataobj).astype(np.float32) for one in (image, mask))
    return Head(*volumes, Grid.of(image.shape, image.affine))


# ------------------------------------------------------------------------------- synthetic adults
def _adult(data: Path, count: int) -> Iterator[Case]:
    paths = sorted((data / "labels" / "adult_synthseg").glob("*_dseg.nii.gz"))
    first, *others = paths[: 1 + count]
    anatomy, places = _labelled(first)
    template = Head(*rendered(_whole(anatomy, T1), np.eye(4), _GRID, _noise(0)), _grid())
    for number, path in enumerate(others):
        anatomy, there = _labelled(path)
        for contrast, values in _CONTRASTS.items():
            seed = 10 * number + len(contrast)
            pose = kinematics.haar(1, 20.0, seed)[0]
            volume = rendered(_whole(anatomy, values), pose, _GRID, _noise(seed))
            found, seconds = _timed(template, Head(*volume, _grid()))
            name = f"{path.name.split('_dseg')[0]} {contrast}"
            yield _compared(name, found, seconds, places, there, pose)


# ---------------------------------------------------------------------------------------- fetuses
def _fetal(data: Path, count: int) -> Iterator[Case]:
    paths = sorted((data / "labels" / "fetal_spinabifida").glob("*_dseg.nii.gz"))
    for number in range(10 * count):
        week = _FETAL_TEMPLATES[number % len(_FETAL_TEMPLATES)]
        template, places = _fetal_template(data, week)
        moving = [path for path in paths if abs(_week(path) - week) in (2, 3)]
        path = moving[number % len(moving)]
        anatomy, there = _fetal_labelled(path)
        modality = Modality(anatomy, anatomy.intensities, fetal.BRAIN_LABELS)
        pose = kinematics.haar(1, 20.0, number)[0]
        volume = rendered(modality, pose, _GRID, _noise(number))
        found, seconds = _timed(template, Head(*volume, _grid()))
        yield _compared(f"{_week(path)} to {week} weeks", found, seconds, places, there, pose)


@cache
def _fetal_template(data: Path, week: int) -> tuple[Head, Float]:
    (path, *_) = sorted((data / "labels" / "fetal_spinabifida").glob(f"ga{week}_*_dseg.nii.gz"))
    codes, affine, places = _fetal_codes(path)
    brain = np.isin(codes, fetal.BRAIN_LABELS)
    image = _T2_FETAL[codes] * brain
    return Head(image, brain.astype(np.float32), Grid.of(codes.shape, affine)), places


def _fetal_codes(path: Path) -> tuple[NDArray[np.int16], Float, Float]:
    """Labels, their affine, and the tissues' centroids: those of both sides apart."""
    codes, affine = _codes(path)
    middle = np.argwhere(codes > 0)[:, 0].mean()
    left = np.arange(codes.shape[0])[:, None, None] < middle
    places = []
    for code in fetal.BRAIN_LABELS:
        for side in (left, ~left):
            index = np.argwhere((codes == code) & side).mean(axis=0)
            places.append(apply_affine(affine, index))
    return codes, affine, np.array(places)


def _fetal_labelled(path: Path) -> tuple[Anatomy, Float]:
    codes, affine, places = _fetal_codes(path)
    brain = np.argwhere(np.isin(codes, fetal.BRAIN_LABELS)).mean(axis=0)
    return read_label_map(path), places - apply_affine(affine, brain)


def _week(path: Path) -> int:
    return int(path.name[2:4])


def _stacks(data: Path, _count: int) -> Iterator[Case]:
    template, _ = _fetal_template(data, 31)
    mask = np.argwhere(template.mask > 0.5)
    width, length, height = np.ptp(mask, axis=0) * float(template.grid.sizes[0]) / 2
    # where `fetal.wrapped_brain` puts the eyes
    eyes = [(side * 0.5 * width, 0.92 * length, -0.56 * height) for side in (-1, 1)]
    center = template.center.numpy()
    expected = center + np.array([(0, 0, 0), *eyes])
    paths = sorted((data / "fetal_epi").glob("ep2d_*.nii.gz"))
    stacks = {path.name: read_series(path, single=True) for path in paths}
    places = landmarks(data / "fetal_epi" / "landmarks.tsv", stacks)
    for name, stack in stacks.items():
        brain = extract_brain(stack.frame(0), stack.affine, "unimo", population="fetal")
        if not brain.usable or name not in places:
            print(f"{name}: no brain was found, or no landmarks are known", flush=True)
            continue
        found, seconds = _timed(template, Head(stack.frame(0), brain.probability, stack.grid))
        apart, stiff = _distances(found, expected, places[name])
        degrees = _turned(found.matrix, kabsch(expected, places[name]))
        yield Case(name, found, seconds, apart, degrees, stiff)


# ------------------------------------------------------------------------------------------ truth
def _codes(path: Path) -> tuple[NDArray[np.int16], Float]:
    """Labels in RAS order, and their affine."""
    image = nib.funcs.as_closest_canonical(nib.nifti1.Nifti1Image.from_filename(path))
    return np.asarray(image.dataobj).astype(np.int16), np.asarray(image.affine, dtype=np.float64)


def _labelled(path: Path) -> tuple[Anatomy, Float]:
    """An adult's anatomy, and the centroids of structures in its own space, ``(N, 3)`` mm."""
    codes, affine = _codes(path)
    centers = [
        np.argwhere(np.isin(codes, some)).mean(axis=0)
        for some in (_ADULT_BRAIN, *([one] for one in _STRUCTURES))
    ]
    world = apply_affine(affine, centers)
    return read_label_map(path), world[1:] - world[0]


def _compared(
    name: str, found: SpacePose, seconds: float, fixed: Float, moving: Float, pose: Float
) -> Case:
    """Against landmarks of the template, and of the moving head before its pose."""
    truth = apply_affine(pose, moving)
    apart, stiff = _distances(found, fixed, truth)
    whole = np.column_stack([fixed, np.ones(len(fixed))])
    left = truth - whole @ np.linalg.lstsq(whole, truth, rcond=None)[0]
    degrees = _turned(found.matrix, kabsch(fixed, truth))
    return Case(name, found, seconds, apart, degrees, stiff, np.linalg.norm(left, axis=1))


def _distances(found: SpacePose, places: Float, truth: Float) -> tuple[Float, Float]:
    """How far places of the template are carried from the truth: in the end, by the affine."""
    points = torch.from_numpy(places)
    bent, stiff = (
        np.linalg.norm(warp(points).numpy() - truth, axis=1)
        for warp in (found.warp, Affine(torch.from_numpy(found.matrix)))
    )
    return bent, stiff


def _bent(found: SpacePose) -> tuple[str, str]:
    """What was gained where nothing was fitted, and whether the template was bent."""
    if found.deformation is None:
        return "", "not asked"
    return f"{found.deformation.gain:.3f}", "no" if found.field is None else "yes"


def _whole(anatomy: Anatomy, values: NDArray[np.float32]) -> Modality:
    return Modality(anatomy, values, anatomy.brain_labels)


def _turned(affine: Float, pose: Float) -> float:
    """Angle of an affine's rotation from a pose's, degrees."""
    rotation = np.eye(4)
    rotation[:3, :3] = rigid.nearest_rotation(torch.from_numpy(affine[:3, :3])).numpy()
    return angle(rotation, pose)


def _noise(seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, 79])


def _grid() -> Grid:
    return Grid.of((80, 80, 80), _GRID)

"""Brain extraction on real scans: fetal stacks, adult runs against other programs.

Fetal EPI: where the mask's centre is relative to the brain's as a person marked it, whether eyes
lie within, and volume relative to that of a simulated brain of the same age (`fetal_head`, whose
sizes are published growth), without and with the fluid around it, which masks hold. Fetal T2w: Dice
with masks drawn by hand, which hold the skull: as it is, with a margin of a fetus' skull and scalp
(`unimo-mask --margin`), and with what is left of the drawn ones without the skull. Adult:
Dice with what nilearn's EPI mask and DIPY's median Otsu agree on; both see a head in air. Nobody
drew masks of the EPI scans, so look at the pictures. "Without head": what is said of the same stack
with its head taken out, by the found mask and the eyes, or the drawn mask.

The shipped weights have seen the fetal stacks. Weights that have not seen those of some fetuses
(`unimo-train brain --hold-back`) are judged by `--weights` and `--only`; `--leave-out` fits
*recognise* without each fetus in turn (`leave_out`).
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks import oddities
from benchmarks.headless import without_head
from benchmarks.metrics import dice
from benchmarks.pairs import marked
from unimo_bids.brain.extraction import NOTHING, extract_brain
from unimo_bids.brain.finder import BrainFinder
from unimo_bids.brain.mask import BrainMask
from unimo_bids.brain.network import BrainNetworks
from unimo_bids.files.series import Series, read_series
from unimo_bids.markdown import markdown_table
from unimo_bids.motion.estimation import find_reference
from unimo_bids.networks.weights import load_weights
from unimo_bids.simulation.fetal import FLUID, fetal_head
from unimo_bids.spatial.region import widened
from unimo_bids.words import Population

Bool3 = NDArray[np.bool_]

_ODD = 8  # volumes of each kind where there is no single whole brain
_CUTS = 6  # pictures of each axis
_COARSE_MM = 2.0  # voxels of the head whose volume is expected
# So far within the drawn masks the fluid ends: halfway from its intensity to the skull's, medians
# of six stacks by distance from the edge
_SKULL_MM = 3.5
_SCALP_MM = 4.5  # skull and scalp of a simulated fetus (`simulation.fetal`): 1.5 and 3


def judge(data: Path, out: Path, threads: int, weights: Path | None, only: Sequence[str]) -> int:
    """Print all tables, and write a picture of each scan with its mask.

    With `weights`, or stacks named, only fetal stacks are looked at.
    """
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    trained = None if weights is None else _trained(weights)
    anything = np.random.default_rng(0).random((64, 64, 64), dtype=np.float32)
    _extract(anything, np.diag([4.0, 4, 4, 1]), "fetal", trained)  # the first call is slow
    print_tables(of_fetuses(data, out, trained, only))
    if trained is None and not only:
        print(markdown_table(_adult(data / "epi", out)))
        print()
        oddities.judge(_ODD)
    print(f"Pictures: {out}")
    return 0


def of_fetuses(
    data: Path, out: Path, trained: BrainNetworks | None, only: Sequence[str]
) -> tuple[list[list[str]], list[list[str]]]:
    """Tables, with their headings, of EPI and T2w stacks: all, or those whose names begin so."""

    def named(path: Path) -> bool:
        return not only or any(path.name.startswith(name) for name in only)

    return (
        _fetal(data / "fetal_epi", out, trained, named),
        _drawn(data / "fetal_t2", out, trained, named),
    )


def print_tables(tables: Sequence[list[list[str]]]) -> None:
    """Print those in which there is more than the heading."""
    for rows in tables:
        if len(rows) > 1:
            print(f"{markdown_table(rows)}\n")


def _trained(weights: Path) -> BrainNetworks:
    networks = BrainNetworks()
    load_weights(networks, weights)
    return networks


def _fetal(
    folder: Path, out: Path, trained: BrainNetworks | None, named: Callable[[Path], bool]
) -> list[list[str]]:
    lines = [
        [
            *("stack", "weeks", "centre off, mm", "eyes within", "ml", "of expected", "with fluid"),
            *("confidence", "next", "doubts", "without head", "CPU s"),
        ]
    ]
    with (folder / "landmarks.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    for row in rows:
        if not named(folder / row["file"]):
            continue
        series = read_series(folder / row["file"], single=True)
        found, seconds = _timed(series, 0, "fetal", trained)
        center, *eyes = marked(row)
        sizes = np.linalg.norm(series.affine[:3, :3], axis=0)
        off = (np.argwhere(found.mask).mean(axis=0) - center) * sizes
        sides = zip(("left", "right"), eyes, strict=True)
        within = [side for side, eye in sides if _holds(found.mask, eye)]
        weeks = float(row["gestational_age_weeks"])
        volume = found.mask.sum() * sizes.prod() / 1000
        shares = [f"{volume / expected:.2f}" for expected in _expected(weeks)]
        headless = without_head(series.frame(0), found.mask, sizes, eyes)
        left = _verdict(_extract(headless, series.affine, "fetal", trained))
        lines.append(
            [
                *(row["file"].split(".")[0], f"{weeks:g}", f"{np.linalg.norm(off):.1f}"),
                *(" ".join(within) or "none", f"{volume:.0f}", *shares),
                *(*_confidence(found), "; ".join(found.doubts), left, f"{seconds:.2f}"),
            ]
        )
        _picture(series.frame(0), found.mask, center, sizes, out / f"{lines[-1][0]}.png")
    return lines


def _drawn(
    folder: Path, out: Path, trained: BrainNetworks | None, named: Callable[[Path], bool]
) -> list[list[str]]:
    lines = [
        [
            *("stack", "Dice", "with margin", "without skull"),
            *("ml", "drawn, ml", "without skull, ml"),
            *("confidence", "next", "doubts", "without head", "CPU s"),
        ]
    ]
    for beside in sorted(folder.glob("*_mask.nii.gz")):
        path = beside.with_name(beside.name.replace("_mask", ""))
        if not named(path):
            continue
        series = read_series(path, single=True)
        mask = np.asarray(read_series(beside, single=True).frame(0)) > 0
        found, seconds = _timed(series, 0, "fetal", trained)
        sizes = np.linalg.norm(series.affine[:3, :3], axis=0)
        bare = ndimage.distance_transform_edt(mask, sampling=sizes) > _SKULL_MM
        volumes = [f"{one.sum() * sizes.prod() / 1000:.0f}" for one in (found.mask, mask, bare)]
        wide = widened(found.mask, sizes, _SCALP_MM)
        pairs = ((found.mask, mask), (wide, mask), (found.mask, bare))
        dices = [f"{dice(one, other):.3f}" for one, other in pairs]
        name = path.name.split(".")[0]
        headless = without_head(series.frame(0), mask, sizes)
        left = _verdict(_extract(headless, series.affine, "fetal", trained))
        lines.append(
            [
                *(name, *dices, *volumes),
                *(*_confidence(found), "; ".join(found.doubts), left, f"{seconds:.2f}"),
            ]
        )
        center = np.argwhere(mask).mean(axis=0)
        _picture(series.frame(0), found.mask, center, sizes, out / f"{name}.png")
    return lines


def _confidence(found: BrainMask) -> list[str]:
    """Of the brain, and of the best of the other places."""
    both = [one.confidence for one in found.candidates[:2]]
    return [f"{both[n]:.2f}" if n < len(both) else "" for n in range(2)]


def _verdict(found: BrainMask) -> str:
    """Confidence of a mask where there is no brain, and whether it is doubted."""
    if not found.usable:
        return "no mask"
    return f"{_confidence(found)[0]}, {'doubted' if found.doubts else 'not doubted'}"


def _adult(folder: Path, out: Path) -> list[list[str]]:
    lines = [["run", "Dice, agreed", "nilearn", "DIPY", "method", "ml", "doubts", "CPU s"]]
    for path in sorted(folder.glob("**/*_bold.nii*")):
        series = read_series(path)
        reference = find_reference(series, series.affine)
        found, seconds = _timed(series, reference, "adult")
        volume = series.frame(reference)
        others = [_nilearn(volume, series.affine), _dipy(volume)]
        name = path.name.split("_bold")[0]
        sizes = np.linalg.norm(series.affine[:3, :3], axis=0)
        lines.append(
            [
                *(name, f"{dice(found.mask, others[0] & others[1]):.3f}"),
                *(f"{dice(found.mask, other):.3f}" for other in others),
                *(found.method, f"{found.mask.sum() * sizes.prod() / 1000:.0f}"),
                *("; ".join(found.doubts), f"{seconds:.2f}"),
            ]
        )
        center = np.argwhere(found.mask).mean(axis=0)
        _picture(volume, found.mask, center, sizes, out / f"{name}.png")
    return lines


def _timed(
    series: Series, frame: int, population: Population, trained: BrainNetworks | None = None
) -> tuple[BrainMask, float]:
    """The mask by the networks alone, and CPU seconds, with everything loaded."""
    volume = series.frame(frame)
    started = time.process_time()
    found = _extract(volume, series.affine, population, trained)
    return found, time.process_time() - started


def _extract(
    volume: NDArray[np.float32],
    affine: NDArray[np.float64],
    population: Population,
    trained: BrainNetworks | None,
) -> BrainMask:
    """The mask by the networks alone: the shipped ones, or others."""
    if trained is None:
        return extract_brain(volume, affine, "unimo", population=population)
    finder = BrainFinder(affine, trained=trained)
    seen = finder.find(volume, population)
    nothing = np.zeros(volume.shape, dtype=np.float32)
    none = BrainMask(nothing > 0, nothing, 0, "", (NOTHING,), False, finder.candidates(seen))
    return finder.judged(seen, volume, population) or none


def _expected(weeks: float) -> tuple[float, float]:
    """Volume of a simulated brain, without and with the fluid around it, ml."""
    head = fetal_head(float(np.clip(weeks, 21, 38)), voxel_mm=_COARSE_MM)
    brain = np.isin(head.labels, head.brain_labels)
    voxel = _COARSE_MM**3 / 1000
    return float(brain.sum()) * voxel, float((brain | (head.labels == FLUID)).sum()) * voxel


def _nilearn(volume: NDArray[np.float32], affine: NDArray[np.float64]) -> Bool3:
    from nilearn.masking import compute_epi_mask

    return np.asarray(compute_epi_mask(nib.Nifti1Image(volume, affine)).dataobj) > 0


def _dipy(volume: NDArray[np.float32]) -> Bool3:
    from dipy.segment.mask import median_otsu

    _, mask = median_otsu(volume, median_radius=2, numpass=2)
    return np.asarray(mask, dtype=bool)


def _holds(mask: Bool3, point: NDArray[np.float64]) -> bool:
    return bool(mask[tuple(np.round(point).astype(int))])


def _picture(
    volume: NDArray[np.float32],
    mask: Bool3,
    center: Sequence[float] | NDArray[np.float64],
    sizes: NDArray[np.float64],
    path: Path,
) -> None:
    """Cuts along each axis through the mask, or through the centre if it lies elsewhere."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, _CUTS, figsize=(2 * _CUTS, 6), facecolor="black")
    brightest = np.percentile(volume, 99.5)
    for axis, row in enumerate(axes):
        extent = np.ptp(np.argwhere(mask)[:, axis]) / 2 if mask.any() else 10
        places = center[axis] + np.linspace(-0.9, 0.9, _CUTS) * extent
        others = [a for a in range(3) if a != axis]
        for ax, place in zip(row, places, strict=True):
            index = int(np.clip(round(place), 0, volume.shape[axis] - 1))
            image, outline = volume.take(index, axis).T, mask.take(index, axis).T
            ax.imshow(
                image,
                origin="lower",
                cmap="gray",
                vmax=brightest,
                aspect=sizes[others[1]] / sizes[others[0]],
            )
            if outline.any():
                ax.contour(outline, [0.5], colors="orange", linewidths=0.8)
            ax.axis("off")
    figure.tight_layout(pad=0.1)
    figure.savefig(path, dpi=60)
    plt.close(figure)

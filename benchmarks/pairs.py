"""Real pairs of whole-uterus EPI: the pose between stacks of one fetus, against landmarks.

The truth is the rigid motion that carries brain centre and eyes of one stack onto those of the
other; marked by hand in voxels of 3 to 4.5 mm, it is good to about 6°. Masks are found as
`unimo-register` finds them, and pairs in which it finds none are refused. Without masks the whole
uterus is registered: nearly all is wrong, and has to be doubted.
"""

from __future__ import annotations

import csv
import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from benchmarks.metrics import Float, angle, kabsch
from unimo_bids.brain.extraction import extract_brain
from unimo_bids.files.series import Series, read_series
from unimo_bids.markdown import markdown_table
from unimo_bids.registration.pair import register_volumes
from unimo_bids.spatial.resampling import resample
from unimo_bids.spatial.warp import Rigid

# numbers of the stacks, by fetus
_FETUSES = [range(1, 10), (15, 16), (17, 18, 19), (29, 30), (38, 39)]
_PAIRS = [
    (f"ep2d_{fixed:02d}.nii.gz", f"ep2d_{moving:02d}.nii.gz")
    for numbers in _FETUSES
    for fixed, moving in itertools.combinations(numbers, 2)
]
_RIGHT_DEG = 15.0
WAYS: dict[str, dict[str, Any]] = {
    "search + refine": {"network": False},
    "network alone": {"refine": False},
    "network + search + refine": {},
}


def judge(data: Path, out: Path, threads: int, masked: bool) -> int:
    """Print the table, and write a picture of each pair."""
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    names = sorted({name for pair in _PAIRS for name in pair})
    stacks = {name: read_series(data / name, single=True) for name in names}
    places = landmarks(data / "landmarks.tsv", stacks)
    brains = {
        name: extract_brain(stack.frame(0), stack.affine, "unimo") if masked else None
        for name, stack in stacks.items()
    }
    columns = ["way", "pairs", "refused", f"within {_RIGHT_DEG:g}°", "degrees, median"]
    lines = [[*columns, "eyes off, mm", "wrong, not doubted", "right, doubted", "s"]]
    for way, options in WAYS.items():
        judged, refused = [], 0
        for pair in _PAIRS:
            a, b = (stacks[name] for name in pair)
            both = [brains[name] for name in pair]
            if any(brain is not None and not brain.usable for brain in both):
                refused += 1
                continue
            masks = [None if brain is None else brain.probability for brain in both]
            started = time.perf_counter()
            found = register_volumes(
                a.frame(0),
                a.affine,
                b.frame(0),
                b.affine,
                fixed_mask=masks[0],
                moving_mask=masks[1],
                **options,
            )
            seconds = time.perf_counter() - started
            fixed, moving = (places[name] for name in pair)
            carried = apply_affine(found.pose, fixed)
            one = _Judged(
                name=f"{pair[0][5:7]}-{pair[1][5:7]}",
                angle=angle(found.pose, kabsch(fixed, moving)),
                eyes=float(np.linalg.norm(carried - moving, axis=1)[1:].mean()),
                doubted=bool(found.doubts),
                seconds=seconds,
            )
            judged.append(one)
            name = f"{one.name}_{way.replace(' ', '').replace('+', '-')}"
            _picture(a, b, masks[0], found.pose, f"{name} {one.angle:.0f}°", out)
        lines.append([way, str(len(judged)), str(refused), *_cells(judged)])
        for what, some in (
            ("off by more", [one for one in judged if not one.right]),
            ("right, doubted", [one for one in judged if one.right and one.doubted]),
        ):
            listed = ", ".join(
                f"{one.name} {one.angle:.0f}°{'' if one.doubted else ' (not doubted)'}"
                for one in some
            )
            print(f"{way}: {what}: {listed or 'none'}", flush=True)
    print(markdown_table(lines))
    print(f"Pictures: {out}")
    return 0


@dataclass(frozen=True)
class _Judged:
    """A pair's pose against the landmarks: degrees and mm off."""

    name: str
    angle: float
    eyes: float
    doubted: bool
    seconds: float

    @property
    def right(self) -> bool:
        return self.angle < _RIGHT_DEG


def _cells(judged: list[_Judged]) -> list[str]:
    right = [one for one in judged if one.right]
    wrong = [one for one in judged if not one.right]
    return [
        f"{100 * len(right) / len(judged):.0f} %",
        f"{np.median([one.angle for one in judged]):.1f}",
        f"{np.median([one.eyes for one in judged]):.1f}",
        f"{sum(not one.doubted for one in wrong)} of {len(wrong)}",
        f"{sum(one.doubted for one in right)} of {len(right)}",
        f"{np.median([one.seconds for one in judged]):.1f}",
    ]


def landmarks(path: Path, stacks: dict[str, Series]) -> dict[str, Float]:
    """Brain centre, left and right eye of each stack, ``(3, 3)`` RAS mm."""
    places = {}
    with path.open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["file"] not in stacks:
                continue
            places[row["file"]] = apply_affine(stacks[row["file"]].affine, marked(row))
    return places


def marked(row: dict[str, str]) -> Float:
    """Brain centre, left and right eye in a row of ``landmarks.tsv``, ``(3, 3)`` voxels."""
    names = ("brain", "left_eye", "right_eye")
    return np.array([[float(row[f"{name}_{axis}"]) for axis in "ijk"] for name in names])


def _picture(
    a: Series, b: Series, mask: NDArray[np.float32] | None, pose: Float, title: str, out: Path
) -> None:
    """Fixed volume above, moving volume carried onto it below, three cuts through what moves."""
    import matplotlib.pyplot as plt

    moved = resample(
        torch.from_numpy(b.frame(0)), b.grid, Rigid(torch.from_numpy(pose)), onto=a.grid
    ).numpy()
    within = np.ones(a.shape[:3], bool) if mask is None else mask > 0.5
    inside = np.argwhere(within)
    low, high = np.maximum(inside.min(0) - 6, 0), inside.max(0) + 7
    center = np.round(inside.mean(0)).astype(int)
    sizes = np.linalg.norm(a.affine[:3, :3], axis=0)
    figure, axes = plt.subplots(2, 3, figsize=(6, 4), facecolor="black")
    for row, volume in zip(axes, (a.frame(0), moved), strict=True):
        for axis, ax in enumerate(row):
            rest = [other for other in range(3) if other != axis]
            view = tuple(slice(low[o], high[o]) for o in rest)
            image, outline = (v.take(center[axis], axis)[view].T for v in (volume, within))
            aspect = sizes[rest[1]] / sizes[rest[0]]
            ax.imshow(image, origin="lower", cmap="gray", aspect=aspect)
            if mask is not None:
                ax.contour(outline, [0.5], colors="orange", linewidths=0.7)
            ax.axis("off")
    figure.suptitle(title, color="white", fontsize=8)
    figure.tight_layout(pad=0.1)
    figure.savefig(out / f"{title.split(maxsplit=1)[0]}.png", dpi=50)
    plt.close(figure)

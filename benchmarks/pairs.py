"""Real pairs of whole-uterus EPI: the pose between stacks of one fetus, against landmarks.

The truth is the rigid motion that carries brain centre and eyes of one stack onto those of the
other; marked by hand in voxels of 3 to 4.5 mm, it is good to about 6°. Masks are the app's own.
"""

from __future__ import annotations

import csv
import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.table import markdown_table
from unimo_bids.brain.choice import extract_brain
from unimo_bids.files.series import Series, read_series
from unimo_bids.motion.pair import register_volumes
from unimo_bids.motion.resampling import resample
from unimo_bids.spatial import rigid

Float = NDArray[np.float64]

_SAME_FETUS = [f"ep2d_{number:02d}.nii.gz" for number in range(1, 10)]
_RIGHT_DEG = 15.0
WAYS: dict[str, dict[str, Any]] = {
    "search + refine": {"network": False},
    "network alone": {"refine": False},
    "network + search + refine": {},
}


def judge(data: Path, out: Path, threads: int) -> int:
    """Print the table, and write a picture of each pair."""
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    stacks = {name: read_series(data / name, single=True) for name in _SAME_FETUS}
    places = _landmarks(data / "landmarks.tsv", stacks)
    masks = {
        name: extract_brain(stack.frame(0), stack.affine, "unimo", population="fetal").mask
        for name, stack in stacks.items()
    }
    lines = [["way", "pairs", f"within {_RIGHT_DEG:g}°", "degrees, median", "eyes off, mm", "s"]]
    for way, options in WAYS.items():
        angles, eyes, seconds = [], [], []
        for fixed, moving in itertools.combinations(_SAME_FETUS, 2):
            started = time.perf_counter()
            a, b = stacks[fixed], stacks[moving]
            found = register_volumes(
                a.frame(0),
                a.affine,
                b.frame(0),
                b.affine,
                fixed_mask=masks[fixed],
                moving_mask=masks[moving],
                **options,
            )
            seconds.append(time.perf_counter() - started)
            angles.append(_angle(found.pose, _kabsch(places[fixed], places[moving])))
            carried = places[fixed] @ found.pose[:3, :3].T + found.pose[:3, 3]
            eyes.append(np.linalg.norm(carried - places[moving], axis=1)[1:].mean())
            name = f"{fixed[5:7]}-{moving[5:7]}_{way.replace(' ', '').replace('+', '-')}"
            _picture(a, b, masks[fixed], found.pose, f"{name} {angles[-1]:.0f}°", out)
        within = 100 * np.mean(np.array(angles) < _RIGHT_DEG)
        lines.append(
            [
                *(way, f"{len(angles)}", f"{within:.0f} %", f"{np.median(angles):.1f}"),
                *(f"{np.median(eyes):.1f}", f"{np.median(seconds):.2f}"),
            ]
        )
        wrong = [
            f"{fixed[5:7]}-{moving[5:7]} {angle:.0f}°"
            for (fixed, moving), angle in zip(
                itertools.combinations(_SAME_FETUS, 2), angles, strict=True
            )
            if angle >= _RIGHT_DEG
        ]
        print(f"{way}: off by more: {', '.join(wrong) or 'none'}", flush=True)
    print(markdown_table(lines))
    print(f"Pictures: {out}")
    return 0


def _landmarks(path: Path, stacks: dict[str, Series]) -> dict[str, Float]:
    """Brain centre, left and right eye of each stack, ``(3, 3)`` RAS mm."""
    places = {}
    with path.open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["file"] not in stacks:
                continue
            indices = np.array(
                [
                    [float(row[f"{what}_{axis}"]) for axis in "ijk"]
                    for what in ("brain", "left_eye", "right_eye")
                ]
            )
            affine = stacks[row["file"]].affine
            places[row["file"]] = indices @ affine[:3, :3].T + affine[:3, 3]
    return places


def _kabsch(fixed: Float, moving: Float) -> Float:
    """Rigid pose ``(4, 4)`` that carries points onto others."""
    means = fixed.mean(axis=0), moving.mean(axis=0)
    moments = (moving - means[1]).T @ (fixed - means[0])
    rotation = rigid.nearest_rotation(torch.from_numpy(moments)).numpy()
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, means[1] - rotation @ means[0]
    return pose


def _angle(one: Float, other: Float) -> float:
    return float(rigid.rotation_angle(torch.from_numpy(one), torch.from_numpy(other)))


def _picture(
    a: Series, b: Series, mask: NDArray[np.bool_], pose: Float, title: str, out: Path
) -> None:
    """Fixed volume above, moving volume carried onto it below, three cuts through the brain."""
    import matplotlib.pyplot as plt

    moved = resample(
        torch.from_numpy(b.frame(0)),
        torch.from_numpy(b.affine),
        torch.from_numpy(pose),
        onto=(a.shape[:3], torch.from_numpy(a.affine)),
    ).numpy()
    inside = np.argwhere(mask)
    low, high = np.maximum(inside.min(0) - 6, 0), inside.max(0) + 7
    center = np.round(inside.mean(0)).astype(int)
    sizes = np.linalg.norm(a.affine[:3, :3], axis=0)
    figure, axes = plt.subplots(2, 3, figsize=(6, 4), facecolor="black")
    for row, volume in zip(axes, (a.frame(0), moved), strict=True):
        for axis, ax in enumerate(row):
            rest = [other for other in range(3) if other != axis]
            view = tuple(slice(low[o], high[o]) for o in rest)
            image, outline = (v.take(center[axis], axis)[view].T for v in (volume, mask))
            aspect = sizes[rest[1]] / sizes[rest[0]]
            ax.imshow(image, origin="lower", cmap="gray", aspect=aspect)
            ax.contour(outline, [0.5], colors="orange", linewidths=0.7)
            ax.axis("off")
    figure.suptitle(title, color="white", fontsize=8)
    figure.tight_layout(pad=0.1)
    figure.savefig(out / f"{title.split(maxsplit=1)[0]}.png", dpi=50)
    plt.close(figure)

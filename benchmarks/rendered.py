"""Rendered pairs of known pose: whether wrong ones are doubted, and standard deviations hold.

Brains, heads and organs of the project's simulator, any rotation, on 3 mm grids with noise and a
receive field of its own for each volume; masks are their own. Of two different things, no pose is
right.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from benchmarks.metrics import Float
from benchmarks.modalities import MODALITIES, RANGES, Modality, errors_of, rendered_pair
from unimo_bids.markdown import markdown_table
from unimo_bids.networks.pose import RIGHT_DEG
from unimo_bids.registration.pair import PairPose, register_volumes
from unimo_bids.spatial import rigid

# fixed, moving
KINDS = {
    "fetal brain": ("fetal brain", "fetal brain"),
    "adult head": ("T1-like head", "T1-like head"),
    "adult head, two contrasts": ("T1-like head", "T2-like head"),
    "organ": ("organ", "organ"),
    "fetal brain and organ": ("fetal brain", "organ"),
    "organ and adult head": ("organ", "T1-like head"),
}
_WITHIN = 1.96  # standard deviations, of 95 in 100 normal errors


def judge(count: int, seed: int, threads: int) -> int:
    """Print the table: errors, doubts, and how many errors the 95 % intervals hold."""
    torch.set_num_threads(threads)
    columns = ["pairs of", "pairs", f"within {RIGHT_DEG:g}°", "mm", "degrees"]
    columns += ["wrong, not doubted", "right, doubted", "in 95 %: translation, rotation"]
    lines = [columns]
    for kind, (fixed, moving) in KINDS.items():
        known = fixed == moving or {fixed, moving} <= {"T1-like head", "T2-like head"}
        errors, doubted, held = [], [], []
        for number in range(count):
            thing = (seed + number) % 3
            pair = rendered_pair(
                *(_thing(name, thing) for name in (fixed, moving)),
                *RANGES["any rotation"],
                seed=1000 * seed + number,
            )
            masks = dict(zip(("fixed_mask", "moving_mask"), pair.masks, strict=True))
            volumes = (pair.volumes[0], pair.affine, pair.volumes[1], pair.affine)
            found = register_volumes(*volumes, **masks)
            errors.append(errors_of(pair, found.pose) if known else (np.inf, 180.0))
            doubted.append(bool(found.doubts))
            held.append(np.abs(_off(found, pair.pose)) < _WITHIN * _deviations(found))
        lines.append([kind, *_cells(np.array(errors), np.array(doubted), np.array(held), known)])
        print(lines[-1], flush=True)
    print(markdown_table(lines))
    return 0


@lru_cache(maxsize=6)
def _thing(name: str, number: int) -> Modality:
    return MODALITIES[name](number)


def _cells(errors: Float, doubted: Float, held: Float, known: bool) -> list[str]:
    right = errors[:, 1] < RIGHT_DEG
    undoubted = f"{np.sum(~right & ~doubted)} of {np.sum(~right)}"
    if not known:
        return [f"{len(errors)}", "", "", "", undoubted, "", ""]
    millimetres, degrees = np.median(errors, axis=0)
    turns, shifts = (100 * held[right][:, part].mean() for part in (slice(3), slice(3, 6)))
    return [
        *(f"{len(errors)}", f"{100 * right.mean():.0f} %", f"{millimetres:.3f}", f"{degrees:.3f}"),
        *(undoubted, f"{np.sum(right & doubted)} of {np.sum(right)}"),
        f"{shifts:.0f}, {turns:.0f} %",
    ]


def _off(found: PairPose, pose: Float) -> Float:
    """The small motion of the fixed volume that makes the found pose true, six numbers."""
    back = torch.from_numpy(np.linalg.inv(found.pose) @ pose)
    return torch.cat(rigid.to_parameters(back, torch.from_numpy(found.center))).numpy()


def _deviations(found: PairPose) -> Float:
    assert found.covariance is not None
    return np.sqrt(np.diag(found.covariance))

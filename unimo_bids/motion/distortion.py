"""Whether a field in the scanner bends the head as it moves, and which: the step after the poses.

Half of the frames make a template and a field; the other half judge: registered to it with the
field, do they fit better than without? Only then is there a correction. Where the head hardly
moves, it stays in the same field, and nothing is done.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.deformation.epi import Distortion, ShiftField, empty_field
from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.motion.frames import Frames
from unimo_bids.motion.pooled import Fit, Head, fit_field, fit_poses, residuals, template_of
from unimo_bids.motion.scan import MOST_FRAMES
from unimo_bids.motion.settings import MotionSettings
from unimo_bids.registration.levels import Level, make_level
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.region import Region
from unimo_bids.words import Deformation

_POINTS = 4096  # of a template; twice as many change fields by hundredths of a millimetre
_HALF_WAVE = 0.75  # radii of the head; 0.6 was no better on simulated heads
_RIM = 3  # voxels around the head, for the derivatives of its template
_STEPS, _MORE_STEPS, _POSE_STEPS = 3, 2, 2  # from none, from that of half of the frames
# Frames that judge, fewer say nothing; standard errors by which they must agree (one that hardly
# moved gains little, so that they never agree well); and by how much what is left has to shrink:
# simulated series without distortion gave -0.3 and 0.1 %, one of another simulator 1.7 % along an
# axis that was not the distortion's; those that came out better 5.6 % and more
_FEWEST, _AGREED, _WORTH = 4, 2.0, 0.03
_MOVED = 1.0  # mm on the head's surface, of half of the frames: less bends nothing visibly
_NOT_SOUGHT = "No distortion was looked for"


@dataclass(frozen=True, eq=False)
class Bent:
    """A series' motion, what bends the head on its way, and why that is believed.

    Attributes
    ----------
    motion
        With the poses that belong to the field; as it was where there is none.
    distortion
        None where nothing is to be corrected.
    finding
        What was decided, and by how much, a sentence.
    """

    motion: MotionEstimate
    distortion: Distortion | None
    finding: str


def estimate_distortion(
    series: Any,
    affine: NDArray[np.float64],
    motion: MotionEstimate,
    axis: int,
    how: Deformation = "auto",
    progress: Callable[[float], None] = lambda _share: None,
) -> Bent:
    """Find the field in the scanner that bends a moving head along one axis of the grid.

    Parameters
    ----------
    series
        ``(X, Y, Z, T)``, anything indexed by ``[..., t]``.
    motion
        Of it, from `estimate_motion`.
    axis
        Phase-encode axis: 0, 1 or 2.
    how
        ``auto``: where frames that had no part in it fit better with it; ``epi``: in any case.
    progress
        Told the share done.
    """
    if motion.mode != "plain":
        return Bent(motion, None, f"{_NOT_SOUGHT}: no single image explains the frames.")
    good = np.flatnonzero(np.isin(motion.status, ("ok", "searched")))
    chosen = good[np.linspace(0, len(good) - 1, min(len(good), MOST_FRAMES)).round().astype(int)]
    if len(chosen) < 2 * _FEWEST:
        return Bent(motion, None, f"{_NOT_SOUGHT}: {len(chosen)} frames are too few.")
    poses = torch.as_tensor(motion.poses)[chosen]
    scale = float(np.quantile(motion.template[motion.mask > 0.5], 0.98))
    with torch.inference_mode():
        frames = Frames(series, affine, torch.device("cpu"))
        frames.scale = scale if scale > 0 else 1.0
        region = _region(frames, motion)
        moved = rigid.displacement(poses, torch.eye(4).double(), region.surface())
        if float(moved.mean(dim=-1).median()) < _MOVED:
            return Bent(motion, None, f"{_NOT_SOUGHT}: the head hardly moved.")
        level = _level(frames.grid)
        head = _head(region)
        box = _box(frames, head.region, poses)
        field = empty_field(frames.grid, axis, *box, _HALF_WAVE * region.radius)
        rows = frames.chunks(chosen.tolist())
        sampled = torch.cat([level.sampled(frames(some)) for some in rows])
        field, gain, doubt = _evidence(sampled, poses, field, head, level)
        progress(0.5)
        less, agreed = 100 * (1 - math.exp(-gain)), gain / max(doubt, 1e-9)
        said = (
            f"frames that did not make it have {less:.1f} % less left "
            f"({agreed:.1f} standard errors)"
        )
        if how == "auto" and not (agreed > _AGREED and gain > _WORTH):
            return Bent(motion, None, f"No distortion is corrected: with a field, {said}.")
        found = fit_field(sampled, poses, field, head, level, _MORE_STEPS)
        bent = _under_field(frames, motion, good, found, level)
        field, common = found.field.without_mean(region.weights)
        under = rigid.inverse(common) @ torch.from_numpy(bent.poses) @ common
        bent = replace(bent, poses=under.numpy())
        progress(1.0)
        return Bent(bent, Distortion(field), f"Distortion is corrected: {said}.")


def _evidence(
    sampled: Tensor, poses: Tensor, field: ShiftField, head: Head, level: Level
) -> tuple[ShiftField, float, float]:
    """Field of every other frame, by how much it makes the others fit better, and the error."""
    making, judging = sampled[::2], sampled[1::2]
    without = Fit(poses[::2], field, template_of(making, poses[::2], field, head, level))
    bent = fit_field(making, poses[::2], field, head, level, _STEPS)
    left = []
    for fit in (without, bent):
        fitted = fit_poses(fit, judging, poses[1::2], level, _POSE_STEPS)
        left.append(residuals(fit, judging, fitted, level))
    better = torch.log(left[0] / left[1]).double()
    return bent.field, float(better.mean()), float(better.std() / len(better) ** 0.5)


def _under_field(
    frames: Frames, motion: MotionEstimate, good: NDArray[np.int_], found: Fit, level: Level
) -> MotionEstimate:
    """Motion with the poses that frames have under the field; those that had none keep theirs."""
    poses = torch.as_tensor(motion.poses).clone()
    for rows in frames.chunks(good.tolist()):
        sampled = level.sampled(frames(rows))
        poses[list(rows)] = fit_poses(found, sampled, poses[list(rows)], level, _POSE_STEPS)
    if motion.reference >= 0:
        poses = rigid.orthonormalized(poses @ rigid.inverse(poses[motion.reference]))
        poses[motion.reference] = torch.eye(4, dtype=torch.float64)
    return replace(motion, poses=poses.numpy())


def _region(frames: Frames, motion: MotionEstimate) -> Region:
    weights, center = torch.from_numpy(motion.mask), torch.from_numpy(motion.center)
    return Region(frames.grid, weights, center, motion.radius)


def _level(grid: Grid) -> Level:
    return make_level(grid, blur=MotionSettings().fine_blur * grid.widest, cubic=True)


def _head(region: Region) -> Head:
    part = region.part(region.window(_RIM))
    return Head(part, _level(part.grid), _POINTS)


def _box(frames: Frames, region: Region, poses: Tensor) -> tuple[Tensor, Tensor]:
    """First and last indices that a region reaches at any of the poses, ``(3,)`` each."""
    grid = frames.grid
    indices = rigid.transform(grid.to_index @ poses, region.grid.corners()).reshape(-1, 3)
    ends = torch.tensor(grid.shape, dtype=torch.float64) - 1
    first = torch.minimum(indices.amin(dim=0).clamp(min=0), ends - 2)
    return first, torch.maximum(torch.minimum(indices.amax(dim=0), ends), first + 2)

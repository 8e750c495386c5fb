"""Whether a field in the scanner bends the head as it moves, and which: the step after the poses.

Half of the frames make a template and a field; the other half judge: registered to it with the
field, do they fit better than without? And better than with fields along the other axes, which
explain much of what slices at different times, or another axis' distortion, do to the frames? Only
then is there a correction. Where the head hardly moves, it stays in the same field, and nothing is
done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.deformation.epi import Distortion, ShiftField, empty_field
from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.motion.frames import Frames
from unimo_bids.motion.pooled import Fit, Head, fit_field, fit_poses, residuals
from unimo_bids.motion.scan import MOST_FRAMES
from unimo_bids.motion.settings import MotionSettings
from unimo_bids.motion.thresholds import DISTORTION
from unimo_bids.registration.levels import Level, make_level
from unimo_bids.registration.target import LEAST_WEIGHT
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.region import Region
from unimo_bids.words import GRID_AXES, Deformation

_POINTS = 4096  # of a template; twice as many change fields by hundredths of a millimetre
_HALF_WAVE = 0.75  # radii of the head; 0.6 was no better on simulated heads
_RIM = 3  # voxels around the head, for the derivatives of its template
_STEPS, _MORE_STEPS, _POSE_STEPS = 2, 3, 2  # from none, from that of half of the frames
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
    less
        By which share less is left with a field along each axis of the grid, in frames that had no
        part in it; only of axes that were tried.
    """

    motion: MotionEstimate
    distortion: Distortion | None
    finding: str
    less: Mapping[int, float] = field(default_factory=dict)


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
        ``auto``: where frames that had no part in it fit better with it, and clearly better than
        with one along another axis; ``epi``: in any case.
    progress
        Told the share done.
    """
    if motion.mode != "plain":
        return Bent(motion, None, f"{_NOT_SOUGHT}: no single image explains the frames.")
    good = np.flatnonzero(np.isin(motion.status, ("ok", "searched")))
    chosen = good[np.linspace(0, len(good) - 1, min(len(good), MOST_FRAMES)).round().astype(int)]
    if len(chosen) < 2 * DISTORTION.fewest:
        return Bent(motion, None, f"{_NOT_SOUGHT}: {len(chosen)} frames are too few.")
    poses = torch.as_tensor(motion.poses)[chosen]
    scale = float(np.quantile(motion.template[motion.mask > 0.5], 0.98))
    with torch.inference_mode():
        frames = Frames(series, affine, torch.device("cpu"))
        frames.scale = scale if scale > 0 else 1.0
        region = _region(frames, motion)
        moved = rigid.displacement(poses, torch.eye(4).double(), region.surface())
        if float(moved.mean(dim=-1).median()) < DISTORTION.moved_mm:
            return Bent(motion, None, f"{_NOT_SOUGHT}: the head hardly moved.")
        level = _level(frames.grid)
        head = _head(region)
        box = _box(frames, head.region, poses)

        def seen(which: Sequence[int]) -> _Seen:
            rows = frames.chunks(chosen[which].tolist())
            sampled = torch.cat([level.sampled(frames(some)) for some in rows])
            return _Seen(sampled, poses[which], head, level)

        empty = {
            one: empty_field(frames.grid, one, *box, _HALF_WAVE * region.radius) for one in range(3)
        }
        apart = _apart(poses, region)
        if how == "auto":
            gains = seen(apart[: DISTORTION.looked_at]).gains(empty[axis])
            if float(gains.mean()) < DISTORTION.promising:
                said = f"No distortion is corrected: {_told(axis, gains)}."
                return Bent(motion, None, said, {axis: _less(gains)})
        verdict = _judge(seen(apart), empty, axis, how)
        progress(0.5)
        if verdict.field is None:
            return Bent(motion, None, f"No distortion is corrected: {verdict.said}.", verdict.less)
        every = seen(range(len(chosen)))
        found = fit_field(every.sampled, poses, verdict.field, head, level, _MORE_STEPS)
        bent = _under_field(frames, motion, good, found, level)
        fixed, common = found.field.without_mean(region.weights)
        under = rigid.inverse(common) @ torch.from_numpy(bent.poses) @ common
        bent = replace(bent, poses=under.numpy())
        progress(1.0)
        said = f"Distortion is corrected: {verdict.said}."
        return Bent(bent, Distortion(fixed), said, verdict.less)


def _apart(poses: Tensor, region: Region) -> list[int]:
    """Frames whose heads are far from each other, each the farthest from those before."""
    surface = region.surface()
    far = torch.stack([rigid.displacement(poses, pose, surface).mean(dim=-1) for pose in poses])
    chosen = [0]
    while len(chosen) < min(DISTORTION.judges, len(far)):
        chosen.append(int(far[:, chosen].amin(dim=1).argmax()))
    return chosen


@dataclass(frozen=True, eq=False)
class _Seen:
    """Frames ``(B, X, Y, Z)``, where the head is in them ``(B, 4, 4)``, and how they are read."""

    sampled: Tensor
    poses: Tensor
    head: Head
    level: Level

    def gains(self, empty: ShiftField) -> Tensor:
        """How much less is left with a field, log, in every other frame."""
        return self.left(empty, 0, 1)[1] - self.left(empty, _STEPS, 1)[1]

    def left(self, empty: ShiftField, steps: int, halves: int = 2) -> tuple[ShiftField, Tensor]:
        """Log of what is left in each frame if the other half made field and template.

        The field is that of the first half; with one half, only the second is judged.
        """
        fits, left = [], []
        for part in range(halves):
            making, judging = slice(part, None, 2), slice(1 - part, None, 2)
            fits.append(
                fit_field(
                    self.sampled[making], self.poses[making], empty, self.head, self.level, steps
                )
            )
            frames = self.sampled[judging]
            poses = fit_poses(fits[-1], frames, self.poses[judging], self.level, _POSE_STEPS)
            left.append(residuals(fits[-1], frames, poses, self.level).log().double())
        return fits[0].field, torch.cat(left)


@dataclass(frozen=True, eq=False)
class _Verdict:
    """A field to begin with, or None; why, and `Bent.less`."""

    field: ShiftField | None
    said: str
    less: Mapping[int, float]


def _judge(seen: _Seen, empty: Mapping[int, ShiftField], axis: int, how: Deformation) -> _Verdict:
    """Whether a field along an axis is worth it, and the axis the one."""
    _, without = seen.left(empty[axis], 0)
    found, left = seen.left(empty[axis], _STEPS)
    gains = without - left
    said, less = _told(axis, gains), {axis: _less(gains)}
    if how == "epi":
        return _Verdict(found, said, less)
    if not (_clear(gains) and float(gains.mean()) > DISTORTION.worth):
        return _Verdict(None, said, less)
    others = {one: seen.left(empty[one], _STEPS)[1] for one in range(3) if one != axis}
    less |= {one: _less(without - other) for one, other in others.items()}
    along = " and ".join(f"{100 * less[one]:.1f} % along {GRID_AXES[one]}" for one in others)
    if any(_clear(left - other) for other in others.values()):
        return _Verdict(None, f"{said}, but {along}: it is not the axis of what is there", less)
    if not all(_clear(other - left) for other in others.values()):
        return _Verdict(None, f"{said}, but {along}: the axis cannot be told from others", less)
    return _Verdict(found, f"{said}, and {along}", less)


def _clear(gains: Tensor) -> bool:
    """Whether frames ``(B,)`` agree that there is a gain."""
    return float(gains.mean()) > DISTORTION.agreed * _error(gains)


def _error(gains: Tensor) -> float:
    return float(gains.std()) / len(gains) ** 0.5


def _less(gains: Tensor) -> float:
    return 1 - math.exp(-float(gains.mean()))


def _told(axis: int, gains: Tensor) -> str:
    agreed = float(gains.mean()) / max(_error(gains), 1e-9)
    return (
        f"with a field along {GRID_AXES[axis]}, frames that had no part in it have "
        f"{100 * _less(gains):.1f} % less left ({agreed:.1f} standard errors)"
    )


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
    # those below have no part in registration, and are many of those a template is read at
    part = replace(part, weights=torch.where(part.weights > LEAST_WEIGHT, part.weights, 0.0))
    return Head(part, _level(part.grid), _POINTS)


def _box(frames: Frames, region: Region, poses: Tensor) -> tuple[Tensor, Tensor]:
    """First and last indices that a region reaches at any of the poses, ``(3,)`` each."""
    grid = frames.grid
    indices = rigid.transform(grid.to_index @ poses, region.grid.corners()).reshape(-1, 3)
    ends = torch.tensor(grid.shape, dtype=torch.float64) - 1
    first = torch.minimum(indices.amin(dim=0).clamp(min=0), ends - 2)
    return first, torch.maximum(torch.minimum(indices.amax(dim=0), ends), first + 2)

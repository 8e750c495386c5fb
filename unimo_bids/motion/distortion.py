"""Whether a field in the scanner bends the head as it moves, and which: the step after the poses.

Half of the frames make a template and a field; the other half judge: registered to it with the
field, do they fit better than without? And better than with fields along the other axes, which
explain much of what slices at different times, or another axis' distortion, do to the frames? Only
then is there a correction. Where the head hardly moves, it stays in the same field, and nothing is
done. A field that was measured comes first, and is judged in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.deformation.epi import Distortion, ShiftField, empty_field, part_of
from unimo_bids.deformation.field_map import FieldMap
from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.motion.frames import Frames, PartOfFrames
from unimo_bids.motion.pooled import (
    Fit,
    Head,
    fit_field,
    fit_poses,
    fit_under,
    head_of,
    level_of,
    residuals,
    template_of,
)
from unimo_bids.motion.scan import MOST_FRAMES
from unimo_bids.motion.thresholds import DISTORTION
from unimo_bids.registration.levels import Level
from unimo_bids.registration.target import Target
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid, Window
from unimo_bids.spatial.region import Region
from unimo_bids.words import GRID_AXES, Deformation

_POINTS = 4096  # of a template; twice as many change fields by hundredths of a millimetre
_HALF_WAVE = 0.75  # radii of the head; 0.6 was no better on simulated heads
_POSE_POINTS = 32_768  # as in registration; those of the field leave poses 0.01 to 0.04 mm off
_FARTHER = 20.0  # mm that distortion may carry signal, and what splines need besides
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
    measured
        Whether the field is that of a field map.
    """

    motion: MotionEstimate
    distortion: Distortion | None
    finding: str
    less: Mapping[int, float] = field(default_factory=dict)
    measured: bool = False


def estimate_distortion(
    series: Any,
    affine: NDArray[np.float64],
    motion: MotionEstimate,
    axis: int,
    how: Deformation = "auto",
    progress: Callable[[float], None] = lambda _share: None,
    field_map: FieldMap | None = None,
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
    field_map
        What was measured of the field. It is taken instead where frames fit better with it,
        whatever `how` says.
    """
    if motion.mode != "plain":
        return Bent(motion, None, f"{_NOT_SOUGHT}: no single image explains the frames.")
    good = np.flatnonzero(np.isin(motion.status, ("ok", "searched")))
    chosen = good[np.linspace(0, len(good) - 1, min(len(good), MOST_FRAMES)).round().astype(int)]
    if len(chosen) < 2 * DISTORTION.fewest:
        return Bent(motion, None, f"{_NOT_SOUGHT}: {len(chosen)} frames are too few.")
    with torch.inference_mode():
        ground = _ground(series, affine, motion, good, chosen)
        surface = ground.region.surface()
        moved = rigid.displacement(ground.poses, torch.eye(4).double(), surface)
        if float(moved.mean(dim=-1).median()) < DISTORTION.moved_mm:
            return Bent(motion, None, f"{_NOT_SOUGHT}: the head hardly moved.")
        verdict, refused = _settle(ground, axis, how, field_map)
        said = f"The field map is not used: {refused}. " if refused else ""
        progress(0.5)
        if verdict.field is None:
            said += f"No distortion is corrected: {verdict.said}."
            return Bent(motion, None, said, verdict.less)
        every = ground.seen(range(len(chosen)))
        distorted, poses, level = verdict.field, every.poses, ground.level
        if not verdict.measured:
            found = fit_field(every.sampled, poses, distorted, ground.head, level, _MORE_STEPS)
            distorted, poses = found.field, found.poses
        dense = head_of(ground.region, torch.from_numpy(motion.template).float(), _POSE_POINTS)
        found = fit_under(every.sampled, poses, distorted, dense, level, _POSE_STEPS)
        bent = _under_field(ground.frames, motion, good, found, ground.level)
        whole = found.field.on_whole(ground.region.grid, ground.window)
        fixed, common = whole.without_mean(ground.region.weights)
        under = rigid.inverse(common) @ torch.from_numpy(bent.poses) @ common
        bent = replace(bent, poses=under.numpy())
        progress(1.0)
        said += f"Distortion is corrected: {verdict.said}."
        return Bent(bent, Distortion(fixed), said, verdict.less, verdict.measured)


@dataclass(frozen=True, eq=False)
class _Ground:
    """Frames of a series that serve, where the head is in them, and how they are read.

    Only the window of the grid that the head reaches, and a little more, is read; the region is on
    the whole grid.
    """

    frames: Frames
    window: Window
    chosen: NDArray[np.int_]
    poses: Tensor
    region: Region
    head: Head
    level: Level

    @cached_property
    def box(self) -> tuple[Tensor, Tensor]:
        """First and last indices that the head reaches."""
        return _box(self.frames.grid, self.head.region, self.poses)

    @cached_property
    def apart(self) -> list[int]:
        """Frames whose heads are far from each other, each the farthest from those before."""
        surface = self.region.surface()
        far = torch.stack(
            [rigid.displacement(self.poses, one, surface).mean(dim=-1) for one in self.poses]
        )
        chosen = [0]
        while len(chosen) < min(DISTORTION.judges, len(far)):
            chosen.append(int(far[:, chosen].amin(dim=1).argmax()))
        return chosen

    def seen(self, which: Sequence[int]) -> _Seen:
        """Some of the frames, by their places among the chosen."""
        rows = self.frames.chunks(self.chosen[which].tolist())
        sampled = torch.cat([self.level.sampled(self.frames(some)) for some in rows])
        return _Seen(sampled, self.poses[which], self.head, self.level)


def _ground(
    series: Any,
    affine: NDArray[np.float64],
    motion: MotionEstimate,
    good: NDArray[np.int_],
    chosen: NDArray[np.int_],
) -> _Ground:
    frames = Frames(series, affine, torch.device("cpu"))
    scale = float(np.quantile(motion.template[motion.mask > 0.5], 0.98))
    frames.scale = scale if scale > 0 else 1.0
    region, poses = _region(frames, motion), torch.as_tensor(motion.poses)
    head = head_of(region, torch.from_numpy(motion.template).float(), _POINTS)
    window = _reached(frames.grid, _box(frames.grid, head.region, poses[good]))
    part = PartOfFrames(frames, window)
    return _Ground(part, window, chosen, poses[chosen], region, head, level_of(part.grid))


def _settle(
    ground: _Ground, axis: int, how: Deformation, field_map: FieldMap | None
) -> tuple[_Verdict, str]:
    """What is to be believed of a field map and of the frames, and why the map is not."""
    if field_map is None:
        return _seek(ground, axis, how), ""
    measured = _judge_map(ground, field_map, axis)
    if measured.field is not None and not measured.doubted:
        return measured, ""
    sought = _seek(ground, axis, how)
    ahead = sought.field is not None and _clear(sought.gains - measured.gains)
    return (sought, measured.said) if measured.field is None or ahead else (measured, "")


def _judge_map(ground: _Ground, field_map: FieldMap, axis: int) -> _Verdict:
    """How much of a field that was measured frames say there is, and whether that is believed."""
    seen, amount = ground.seen(ground.apart), 1.0
    for _ in range(2):  # what folds or bends much is not twice as much of the half
        field = field_map.times(amount).on(ground.frames.grid, axis, *ground.box)
        part = part_of(field, 0.0)
        without, (found, left) = seen.left(part, 0)[1], seen.left(part, _MORE_STEPS)
        more = float(found.coefficients)
        amount *= more
        if more <= 0 or _as_said(more):
            break
    gains = without - left
    said = _told(f"{amount:.2f} times {field_map.said} along {GRID_AXES[axis]}", gains)
    less = {axis: _less(gains)}
    believed = _as_said(amount) or (
        1 / DISTORTION.largest_factor < amount < DISTORTION.largest_factor
        and float(gains.mean()) > DISTORTION.worth
    )
    if not (_clear(gains) and believed):
        return _Verdict(None, said, less, gains)
    if _as_said(amount):
        return _Verdict(field, said, less, gains, measured=True)
    field = field_map.times(amount).on(ground.frames.grid, axis, *ground.box)
    return _Verdict(field, said, less, gains, measured=True, doubted=True)


def _as_said(amount: float) -> bool:
    """Whether a map is so much of the field as it says, but for its noise."""
    return 1 / DISTORTION.as_said < amount < DISTORTION.as_said


def _seek(ground: _Ground, axis: int, how: Deformation) -> _Verdict:
    """Find a field along an axis, and whether it is worth it."""
    grid, half_wave = ground.frames.grid, _HALF_WAVE * ground.region.radius
    empty = {one: empty_field(grid, one, *ground.box, half_wave) for one in range(3)}
    if how == "auto":
        gains = ground.seen(ground.apart[: DISTORTION.looked_at]).gains(empty[axis])
        if float(gains.mean()) < DISTORTION.promising:
            return _Verdict(None, _told(_a_field(axis), gains), {axis: _less(gains)}, gains)
    return _judge(ground.seen(ground.apart), empty, axis, how)


@dataclass(frozen=True, eq=False)
class _Seen:
    """Frames ``(B, X, Y, Z)``, where the head is in them ``(B, 4, 4)``, and how they are read."""

    sampled: Tensor
    poses: Tensor
    head: Head
    level: Level
    _templates: dict[int, Target] = field(default_factory=dict)

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
            frames, poses = self.sampled[making], self.poses[making]
            how = (empty, self.head, self.level)
            if part not in self._templates:  # the same along all axes
                self._templates[part] = template_of(frames, poses, *how)
            fits.append(fit_field(frames, poses, *how, steps, self._templates[part]))
            left.append(self._judged(fits[-1], judging))
        return fits[0].field, torch.cat(left)

    def _judged(self, fit: Fit, judging: slice) -> Tensor:
        frames = self.sampled[judging]
        poses = fit_poses(fit, frames, self.poses[judging], self.level, _POSE_STEPS)
        return residuals(fit, frames, poses, self.level).log().double()


@dataclass(frozen=True, eq=False)
class _Verdict:
    """A field to begin with, or None; why, and `Bent.less`.

    `gains` say how much less is left, log, in the frames that judged. A map is doubted where frames
    say that it is not as strong as it says: a field of the frames may then leave less.
    """

    field: ShiftField | None
    said: str
    less: Mapping[int, float]
    gains: Tensor
    measured: bool = False
    doubted: bool = False


def _judge(seen: _Seen, empty: Mapping[int, ShiftField], axis: int, how: Deformation) -> _Verdict:
    """Whether a field along an axis is worth it, and the axis the one."""
    _, without = seen.left(empty[axis], 0)
    found, left = seen.left(empty[axis], _STEPS)
    gains = without - left
    said, less = _told(_a_field(axis), gains), {axis: _less(gains)}
    if how == "epi":
        return _Verdict(found, said, less, gains)
    if not (_clear(gains) and float(gains.mean()) > DISTORTION.worth):
        return _Verdict(None, said, less, gains)
    others = {one: seen.left(empty[one], _STEPS)[1] for one in range(3) if one != axis}
    less |= {one: _less(without - other) for one, other in others.items()}
    along = " and ".join(f"{100 * less[one]:.1f} % along {GRID_AXES[one]}" for one in others)
    but = f"{said}, but {along}: "
    if any(_clear(left - other) for other in others.values()):
        return _Verdict(None, f"{but}it is not the axis of what is there", less, gains)
    if not all(_clear(other - left) for other in others.values()):
        return _Verdict(None, f"{but}the axis cannot be told from others", less, gains)
    return _Verdict(found, f"{said}, and {along}", less, gains)


def _clear(gains: Tensor) -> bool:
    """Whether frames ``(B,)`` agree that there is a gain."""
    return float(gains.mean()) > DISTORTION.agreed * _error(gains)


def _error(gains: Tensor) -> float:
    return float(gains.std()) / len(gains) ** 0.5


def _less(gains: Tensor) -> float:
    return 1 - math.exp(-float(gains.mean()))


def _a_field(axis: int) -> str:
    return f"a field along {GRID_AXES[axis]}"


def _told(field: str, gains: Tensor) -> str:
    agreed = float(gains.mean()) / max(_error(gains), 1e-9)
    return (
        f"with {field}, frames that had no part in it have "
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


def _box(grid: Grid, region: Region, poses: Tensor) -> tuple[Tensor, Tensor]:
    """First and last indices that a region reaches at any of the poses, ``(3,)`` each."""
    indices = rigid.transform(grid.to_index @ poses, region.grid.corners()).reshape(-1, 3)
    ends = torch.tensor(grid.shape, dtype=torch.float64) - 1
    first = torch.minimum(indices.amin(dim=0).clamp(min=0), ends - 2)
    return first, torch.maximum(torch.minimum(indices.amax(dim=0), ends), first + 2)


def _reached(grid: Grid, box: tuple[Tensor, Tensor]) -> Window:
    """The part of a grid that holds a box, and signal that distortion carries out of it."""
    farther = _FARTHER / grid.sizes
    low = (box[0] - farther).floor().clamp(min=0).long().tolist()
    high = (box[1] + farther).ceil().long().tolist()
    first, second, third = (
        slice(start, min(stop + 1, n)) for start, stop, n in zip(low, high, grid.shape, strict=True)
    )
    return first, second, third

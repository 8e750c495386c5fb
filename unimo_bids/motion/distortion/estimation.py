"""Whether a field in the scanner bends the head as it moves, and which: the step after the poses.

Half of the frames make a template and a field; the other half judge: registered to it with the
field, do they fit better than without? And do fields along the other axes explain them less, as
they do much of what slices at different times, or another axis' distortion, do to the frames? Only
then is there a correction. Places where frames are not alike even before are left out. Where the
head hardly moves, it stays in the same field, and nothing is done. A field that was measured comes
first, and is judged in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.deformation.epi import Distortion, ShiftField, empty_field, part_of
from unimo_bids.deformation.field_map import FieldMap
from unimo_bids.motion.distortion.held_out import GHOST, POINTS, STEPS, Ground, Seen, find_ground
from unimo_bids.motion.distortion.pooled import Fit, fit_field, fit_poses, fit_under
from unimo_bids.motion.distortion.undistorted import head_of, steady
from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.motion.scan import MOST_FRAMES
from unimo_bids.motion.thresholds import DISTORTION
from unimo_bids.registration.resolution import mixed
from unimo_bids.spatial import rigid
from unimo_bids.words import GRID_AXES, Deformation

_HALF_WAVE = 0.75  # radii of the head; 0.6 was no better on simulated heads
_POSE_POINTS = 32_768  # as in registration; those of the field leave poses 0.01 to 0.04 mm off
# at most, from a field of half of the frames, and of templates for their poses then: severe motion
# needs all, most series two and one
_MORE_STEPS, _TEMPLATES = 6, 4
_STEP = 5e-4  # of what is left, log: severe motion has 1.5e-3 in each, others 3e-4 in the second
_MAP_STEPS = 3
_LAST_STEPS = 4  # of each frame's pose: after 2, severe motion was not done
_NOT_THE_AXIS = "it is not the axis of what is there"
_OF_SLICES = "motion within frames looks so along the axis of the slices"
_ANY_AXIS = "the axis cannot be told from others"
_A_GHOST = "a ghost explains as much"
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
        part in it; only of axes that were tried. Of several, after a first step along each, so that
        they can be compared; what the field in the end leaves, `finding` says.
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
        ground = find_ground(series, affine, motion, good, chosen)
        if mixed(ground.region):
            why = "voxels are so large that places show much of what is around the head"
            return Bent(motion, None, f"{_NOT_SOUGHT}: {why}.")
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
        found = _settled(ground, verdict)
        bent = _under_field(ground, motion, good, found)
        whole = found.field.on_whole(ground.region.grid, ground.window)
        fixed, common = whole.without_mean(ground.region.weights)
        under = rigid.inverse(common) @ torch.from_numpy(bent.poses) @ common
        bent = replace(bent, poses=under.numpy())
        progress(1.0)
        said += f"Distortion is corrected: {verdict.said}."
        return Bent(bent, Distortion(fixed), said, verdict.less, verdict.measured)


def _settle(
    ground: Ground, axis: int, how: Deformation, field_map: FieldMap | None
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


def _judge_map(ground: Ground, field_map: FieldMap, axis: int) -> _Verdict:
    """How much of a field that was measured frames say there is, and whether that is believed."""
    seen, amount = ground.judges, 1.0
    for _ in range(2):  # what folds or bends much is not twice as much of the half
        field = field_map.times(amount).on(ground.frames.grid, axis, *ground.box)
        part = part_of(field, 0.0)
        without, (found, poses, left) = seen.left(part, 0)[2], seen.left(part, _MAP_STEPS)
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
        return _Verdict(field, said, less, gains, poses, measured=True)
    field = field_map.times(amount).on(ground.frames.grid, axis, *ground.box)
    return _Verdict(field, said, less, gains, poses, measured=True, doubted=True)


def _as_said(amount: float) -> bool:
    """Whether a map is so much of the field as it says, but for its noise."""
    return 1 / DISTORTION.as_said < amount < DISTORTION.as_said


def _seek(ground: Ground, axis: int, how: Deformation) -> _Verdict:
    """Find a field along an axis, and whether it is worth it."""
    grid, half_wave = ground.frames.grid, _HALF_WAVE * ground.region.radius
    empty = {one: empty_field(grid, one, *ground.box, half_wave) for one in range(3)}
    if how == "auto":
        gains = ground.look.foreseen({axis: empty[axis]}, None)[axis]
        if float(gains.mean()) < DISTORTION.promising:
            return _Verdict(None, _told(_a_field(axis), gains), {axis: _less(gains)}, gains)
    ghosts = ground.ghosts(axis) if how == "auto" else None
    return _judge(ground.judges, empty, axis, how, ground.frames.slice_axis, ghosts)


@dataclass(frozen=True, eq=False)
class _Verdict:
    """A field to begin with, or None; why, and `Bent.less`.

    `gains` say how much less is left, log, in the frames that judged; `poses` are theirs under the
    field. A map is doubted where frames
    say that it is not as strong as it says: a field of the frames may then leave less.
    """

    field: ShiftField | None
    said: str
    less: Mapping[int, float]
    gains: Tensor
    poses: Tensor | None = None
    measured: bool = False
    doubted: bool = False


def _judge(
    seen: Seen,
    empty: Mapping[int, ShiftField],
    axis: int,
    how: Deformation,
    of_slices: int,
    ghosts: Tensor | None,
) -> _Verdict:
    """Whether a field along an axis is worth it, and the axis the one.

    Another axis is not to be clearly ahead. That of the slices, along which phase is hardly ever
    encoded, need not be behind: motion within frames looks as if it were along it. Where it is
    claimed all the same, more is asked of it. And a ghost, the frame itself half of the field of
    view away, is to explain less: it moves as a head does that bends.
    """
    less, along = {}, ""
    if how == "auto":
        steps = seen.foreseen(empty, ghosts)
        ghost = steps.pop(GHOST)
        ahead = {one: steps[axis] - steps[one] for one in steps if one != axis}
        less = {one: _less(gains) for one, gains in steps.items()}
        told = [f"{100 * part:.1f} % along {GRID_AXES[one]}" for one, part in less.items()]
        along = f"a first step along each axis leaves less by {', '.join(told)}"
        if any(_clear(-gains) for gains in ahead.values()):
            return _Verdict(None, f"{along}: {_NOT_THE_AXIS}", less, steps[axis])
        if axis == of_slices and float(steps[axis].mean()) < DISTORTION.along_slices:
            return _Verdict(None, f"{along}: {_OF_SLICES}", less, steps[axis])
        if not all(_clear(gains) for one, gains in ahead.items() if one != of_slices):
            return _Verdict(None, f"{along}: {_ANY_AXIS}", less, steps[axis])
        if not _clear(steps[axis] - ghost):
            said = f"{along}, as a ghost by {100 * _less(ghost):.1f} %: {_A_GHOST}"
            return _Verdict(None, said, less, steps[axis])
    found, poses, left = seen.left(empty[axis], STEPS)
    gains = seen.left(empty[axis], 0)[2] - left
    less = less or {axis: _less(gains)}
    said = "; ".join([_told(_a_field(axis), gains), *filter(None, [along])])
    worth = how == "epi" or (_clear(gains) and float(gains.mean()) > DISTORTION.worth)
    return _Verdict(found if worth else None, said, less, gains, poses)


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
        f"{round(100 * _less(gains), 1) + 0:.1f} % less left ({agreed:.1f} standard errors)"
    )


def _settled(ground: Ground, verdict: _Verdict) -> Fit:
    """Field and poses of all chosen frames, from the field that is believed."""
    assert verdict.field is not None and verdict.poses is not None
    judges, level, distorted = ground.judges, ground.level, verdict.field
    region = steady(judges.sampled, verdict.poses, distorted, ground.region, level)
    every = ground.read(range(len(ground.chosen)))
    poses = ground.poses.clone()
    poses[ground.apart] = verdict.poses
    if not verdict.measured:
        few = head_of(region, ground.template, POINTS)
        poses, distorted = fit_field(every, poses, distorted, few, level, _MORE_STEPS, worth=_STEP)
    many = head_of(region, ground.template, _POSE_POINTS)
    return fit_under(every, poses, distorted, many, level, _TEMPLATES)


def _under_field(
    ground: Ground, motion: MotionEstimate, good: NDArray[np.int_], found: Fit
) -> MotionEstimate:
    """Motion with the poses that frames have under the field; those that had none keep theirs."""
    poses = torch.as_tensor(motion.poses).clone()
    poses[ground.chosen] = found.poses
    level = ground.level
    for rows in ground.frames.chunks(good.tolist()):
        sampled = level.sampled(ground.frames(rows))
        poses[list(rows)] = fit_poses(found, sampled, poses[list(rows)], level, _LAST_STEPS)
    if motion.reference >= 0:
        poses = rigid.orthonormalized(poses @ rigid.inverse(poses[motion.reference]))
        poses[motion.reference] = torch.eye(4, dtype=torch.float64)
    return replace(motion, poses=poses.numpy())

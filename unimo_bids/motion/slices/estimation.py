"""Slices of a series: where each was, and the frames that they make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.motion.frames import Frames
from unimo_bids.motion.quality import similarity_threshold
from unimo_bids.motion.slices.calm import calm_template, moved_within
from unimo_bids.motion.slices.fitting import SliceProblem
from unimo_bids.motion.slices.history import Excitation
from unimo_bids.motion.slices.judge import clearly_better, standardised
from unimo_bids.motion.slices.losses import without_losses
from unimo_bids.motion.slices.order import better_order
from unimo_bids.motion.slices.rebuilding import evened, rebuild, values_at
from unimo_bids.motion.slices.thresholds import CALM, FOLLOWING, HISTORY, JUDGE
from unimo_bids.motion.slices.trajectory import SliceTimes, Trajectory, through_frames
from unimo_bids.motion.slices.without_history import WithoutHistory, clearly_more_alike
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.region import Region
from unimo_bids.spatial.warp import SliceWise, Warp

_POINTS, _FEWEST = 2_000, 100  # of a head, at which frames are compared with the template


@dataclass(frozen=True, eq=False)
class SliceMotion:
    """Head motion through T frames of S slices.

    Attributes
    ----------
    times
        Of the slices.
    trajectory
        The head's way through time.
    poses
        ``(T, S, 4, 4)`` float64 RAS mm, reference → slice.
    gains
        ``(T, S)`` intensity of a slice relative to its frame's.
    similarity
        ``(T,)`` correlation of each frame's slices with the template; NaN without image.
    explained
        ``(T,)`` bool: frames whose slices the trajectory explains.
    whole
        ``(T,)`` bool: frames whose slices do not clearly ask for more than the frame's one pose,
        or that are more like the template by that; it is then the pose of each slice.
    covariance
        ``(T, S, 6, 6)`` of the poses by slices: rotation vector (rad) and translation (mm).
    deviations
        ``(T, S)`` standard deviation of each slice's pose: mm on the head's surface, root mean
        square; a whole frame's is that of its pose.
    held_out
        ``(T,)`` by how much the trajectory explains slices better than one pose, without having
        seen them: mean over standard error.
    other_order
        In which order slices would be clearly better explained, in words; or nothing.
    """

    times: SliceTimes
    trajectory: Trajectory
    poses: NDArray[np.float64]
    gains: NDArray[np.float64]
    similarity: NDArray[np.float64]
    explained: NDArray[np.bool_]
    whole: NDArray[np.bool_]
    covariance: NDArray[np.float64]
    deviations: NDArray[np.float64]
    held_out: NDArray[np.float64]
    other_order: str

    def saved(self, status: NDArray[np.str_]) -> NDArray[np.bool_]:
        """Frames ``(T,)`` that no single pose explains, and their slices do."""
        failed = np.isin(status, ("bridged", "lost"))
        return np.asarray(failed & self.explained & (np.nan_to_num(self.held_out) > JUDGE.clear))

    def worth(self, motion: MotionEstimate) -> bool:
        """Whether frames should be made from slices: a frame is saved, or the head does move."""
        good = np.isin(motion.status, ("ok", "searched"))
        moving = good & ~self.whole & (self.within_frames(motion.radius) > FOLLOWING.moves_mm)
        share = moving.sum() / max(1, int(good.sum()))
        return bool(self.saved(motion.status).any() or share > FOLLOWING.moving_share)

    def within_frames(self, radius: float) -> NDArray[np.float64]:
        """Largest displacement between two slices of each frame ``(T,)``, mm on the surface."""
        arms = torch.cat([torch.eye(3), -torch.eye(3)]).double() * radius
        return moved_within(torch.from_numpy(self.poses), self.trajectory.center + arms)

    def rms_within_frames(self, radius: float) -> NDArray[np.float64]:
        """Root mean square displacement of slices from each frame's middle ``(T,)``, mm."""
        arms = torch.cat([torch.eye(3), -torch.eye(3)]).double() * radius
        moved = rigid.transform(torch.from_numpy(self.poses), self.trajectory.center + arms)
        apart = moved - moved.mean(dim=1, keepdim=True)
        return np.asarray(apart.square().sum(dim=-1).mean(dim=(1, 2)).sqrt().numpy())


def may_move_within(motion: MotionEstimate) -> bool:
    """Whether slices can be worth their time, by the poses of frames: `worth`, foreseen.

    A head that moves on by d within a frame is d/2 further at the middle of the next, or was before
    it. One that comes back within every frame is overlooked.
    """
    poses, arm = torch.from_numpy(motion.poses), motion.radius * torch.eye(3).double()
    points = torch.from_numpy(motion.center) + torch.cat([arm, -arm])
    places = rigid.transform(poses, points)
    steps = (places[1:] - places[:-1]).norm(dim=-1).amax(dim=1).numpy()
    beside = np.maximum(np.append(steps, 0), np.append(0, steps))
    failed = np.isin(motion.status, ("bridged", "lost"))
    return bool(failed.any() or (beside > FOLLOWING.moves_mm / 2).mean() > FOLLOWING.moving_share)


def estimate_slices(
    series: Any,
    affine: NDArray[np.float64],
    motion: MotionEstimate,
    times: SliceTimes,
    excitation: Excitation | None = None,
) -> SliceMotion:
    """Follow a head through the slices of a series, from its motion frame by frame.

    Parameters
    ----------
    series
        ``(X, Y, Z, T)`` array or anything indexed like one.
    affine
        ``(4, 4)`` voxel → RAS mm.
    motion
        From `estimate_motion`.
    times
        When slices were acquired.
    excitation
        What spin history depends on: slices are then fitted without it, where that makes frames
        more alike. None leaves it.
    """
    with torch.inference_mode():
        frames, head = _prepared(series, affine, motion)
        if len(times.offsets) != frames.grid.shape[times.axis]:
            finding = f"{len(times.offsets)} slice times for {frames.grid.shape[times.axis]} slices"
            raise ValueError(finding)
        usable = np.isfinite(motion.similarity)
        good = usable & np.isin(motion.status, ("ok", "searched"))
        start = through_frames(torch.from_numpy(motion.poses), good, times, head.center)
        template = torch.from_numpy(motion.template) / frames.scale
        frame_poses = torch.from_numpy(motion.poses)
        frames = without_losses(frames, template, head, frame_poses, good)
        problem = SliceProblem(frames, template, head, times, usable, good)
        fit = problem.fit(start, frame_poses)
        moving = may_move_within(motion)  # heads at rest tell nothing of orders
        other = better_order(problem, fit.one_pose, frame_poses) if moving else ""
        moves = clearly_better(standardised(fit.held_out), good) & good
        if moves.any() and good.sum() >= CALM.fewest:
            if excitation is not None:
                frames = _without_history(
                    frames, template, head, fit.trajectory, times, good, excitation
                )
            calm = calm_template(frames, template, head, fit.trajectory, times, good)
            problem = SliceProblem(frames, calm, head, times, usable, good)
            fit = problem.refit(start, frame_poses, fit.trajectory)
        poses = fit.trajectory.at(times.of_all(frames.count))
        held_out = standardised(fit.held_out)
        whole = good & ~clearly_better(held_out, good)
        like = _Likeness(frames, template, head, times)
        for t in np.flatnonzero(good & ~whole).tolist():
            one = frame_poses[t].expand_as(poses[t])
            by_slices, by_one = like(t, torch.from_numpy(fit.gains[t]), poses[t], one)
            whole[t] = by_one > by_slices + FOLLOWING.clearly
        poses[torch.from_numpy(whole)] = frame_poses[torch.from_numpy(whole)][:, None]
        covariance = problem.covariance(fit).numpy()
        to_mm = np.array([motion.radius] * 3 + [1.0] * 3)
        limit = similarity_threshold(fit.similarity[usable])
        return SliceMotion(
            times=times,
            trajectory=fit.trajectory,
            poses=poses.numpy(),
            gains=fit.gains,
            similarity=fit.similarity,
            explained=usable & (np.nan_to_num(fit.similarity) >= limit),
            whole=whole,
            covariance=covariance / to_mm[:, None] / to_mm,
            deviations=_deviations(covariance, motion, whole),
            held_out=held_out,
            other_order=other,
        )


def correct_slices(
    series: Any,
    affine: NDArray[np.float64],
    poses: NDArray[np.float64],
    gains: NDArray[np.float64],
    axis: int,
    *,
    onto: Grid | None = None,
    space: Warp | None = None,
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Frames in the reference's space from slices where they truly were, and their coverage.

    ``(X, Y, Z)`` float32 each; a frame is 0 where its coverage is less than a half. What goes with
    the head is right; what lies still around it is not.

    Parameters
    ----------
    series, affine
        As of `estimate_slices`.
    poses, gains, axis
        Of the slices, as of `SliceMotion` and `SliceTimes`.
    onto
        The grid that is wanted, if it is not the series' own.
    space
        From that grid's space to the reference's, if they are not the same.
    """
    with torch.inference_mode():
        frames = Frames(series, affine, torch.device("cpu"))
        wanted = onto or frames.grid
        places = wanted.points() if space is None else space(wanted.points())
        for t in range(frames.count):
            warp = SliceWise(frames.grid, axis, torch.from_numpy(poses[t]))
            image: Tensor = frames([t])[0]
            made = rebuild(image, warp, torch.from_numpy(gains[t]), places)
            values, coverage = (part.reshape(wanted.shape).numpy() for part in made)
            yield values, coverage


def _without_history(
    frames: Frames,
    template: Tensor,
    head: Region,
    trajectory: Trajectory,
    times: SliceTimes,
    good: NDArray[np.bool_],
    excitation: Excitation,
) -> Frames:
    """Frames without spin history, if good ones agree that these are more like the template."""
    poses = trajectory.at(times.of_all(frames.count))
    steadied = WithoutHistory(frames, head, times, poses, excitation)
    like, even = [], torch.ones(len(times.offsets))  # gains of slices would hold some of it
    those = np.flatnonzero(good)
    few = those[np.linspace(0, len(those) - 1, min(len(those), HISTORY.asked)).round().astype(int)]
    for one in (frames, steadied):
        likeness = _Likeness(one, template, head, times)
        like.append([likeness(t, even, poses[t])[0] for t in few.tolist()])
    return steadied if clearly_more_alike(np.array(like[0]), np.array(like[1])) else frames


class _Likeness:
    """How much frames made from slices are like the template, at some points of the head."""

    def __init__(self, frames: Frames, template: Tensor, head: Region, times: SliceTimes) -> None:
        inside = torch.nonzero(head.weights > 0.5)
        inside = inside[:: max(1, len(inside) // _POINTS)]
        self.frames, self.axis = frames, times.axis
        self.places = rigid.transform(head.grid.affine, inside.double())
        self.values = template[inside.unbind(dim=1)]

    def __call__(self, t: int, gains: Tensor, *ways: Tensor) -> list[float]:
        """Correlation for the poses ``(S, 4, 4)`` of each way; 0 where hardly anything is seen."""
        coefficients = evened(self.frames([t])[0], self.axis, gains)
        warps = [SliceWise(self.frames.grid, self.axis, poses) for poses in ways]
        return [self._correlation(coefficients, warp) for warp in warps]

    def _correlation(self, coefficients: Tensor, warp: SliceWise) -> float:
        values, coverage = values_at(self.places, coefficients, warp)
        seen = coverage > 0.5
        if int(seen.sum()) < _FEWEST:
            return 0.0
        return float(torch.corrcoef(torch.stack([values, self.values])[:, seen])[0, 1])


def _deviations(
    covariance: NDArray[np.float64], motion: MotionEstimate, whole: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Of poses, mm on the head's surface ``(T, S)``; there a turn of θ moves by ``√⅔ θ r``."""

    def on_surface(variances: NDArray[np.float64]) -> NDArray[np.float64]:
        turn, shift = variances[..., :3].sum(axis=-1), variances[..., 3:].sum(axis=-1)
        return np.asarray(np.sqrt(turn * 2 / 3 + shift))

    found = on_surface(np.diagonal(covariance, axis1=2, axis2=3))
    to_mm = np.array([motion.radius**2] * 3 + [1.0] * 3)
    of_frames = on_surface(np.diagonal(motion.covariance, axis1=1, axis2=2) * to_mm)
    found[whole] = of_frames[whole, None]
    return found


def _prepared(
    series: Any, affine: NDArray[np.float64], motion: MotionEstimate
) -> tuple[Frames, Region]:
    frames = Frames(series, affine, torch.device("cpu"))
    frames.scale = float(np.quantile(np.abs(motion.template), 0.98)) or 1.0
    center = torch.from_numpy(motion.center)
    head = Region(frames.grid, torch.from_numpy(motion.weights), center, motion.radius)
    return frames, head


def saved_by_slices(motion: MotionEstimate, slices: SliceMotion) -> MotionEstimate:
    """The motion frame by frame, where frames that slices save are ``ok``.

    Such a frame has the pose of its middle, and the covariance of the slice nearest to that.
    """
    saved = slices.saved(motion.status)
    times, offsets = slices.times, slices.times.offsets
    middles = torch.arange(len(saved)) * times.repetition_time + times.middle
    nearest = int(np.abs(offsets - times.middle).argmin())
    poses, covariance = motion.poses.copy(), motion.covariance.copy()
    poses[saved] = slices.trajectory.at(middles.double()).numpy()[saved]
    covariance[saved] = slices.covariance[saved, nearest]
    return replace(
        motion,
        poses=poses,
        covariance=covariance,
        similarity=np.where(saved, slices.similarity, motion.similarity),
        status=np.where(saved, "ok", motion.status),
    )

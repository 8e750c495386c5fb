"""A trajectory through all slices of a series, in one banded Gauss–Newton problem.

The template is whole, a frame may be torn: so the frame's voxels y of slice s are carried to the
template, ``x = T(τ_s)⁻¹ y``, and compared there ::

    m(y) ≈ γ_s (g₀ + g·y) f(x) + b

The trajectory T has knots in time. A small motion δ of the reference before T moves x by -δ, and a
slice between two knots shares its normal equations among them by how near they are. Bends of the
trajectory cost as much as the series' own motion lets expect, but a jump must stay possible: the
penalty is that of a Cauchy distribution. So does leaving the frames' own poses, which holds what
slices do not determine. What couples is neighbouring knots only: one banded solve moves all of
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.frames import Frames
from unimo_bids.motion.slices.gaps import BLUR, across_gaps
from unimo_bids.motion.slices.intensity import SliceIntensity
from unimo_bids.motion.slices.judge import better_held_out
from unimo_bids.motion.slices.points import Model, Points, choose
from unimo_bids.motion.slices.solving import (
    AnchorPrior,
    BendPrior,
    SliceEquations,
    State,
    assembled,
    knot_covariance,
    solved,
)
from unimo_bids.motion.slices.stages import STAGES, Stage
from unimo_bids.motion.slices.trajectory import SliceTimes, Trajectory, away
from unimo_bids.motion.slices.uncertainty import between_knots, noise_scale, of_frames
from unimo_bids.registration.least_squares import solve
from unimo_bids.spatial import rigid
from unimo_bids.spatial.region import Region

_AT_ONCE = 4  # frames
_LEAST_BEND = 0.05  # mm, that the prior always allows
_LEAST_AWAY = 0.1  # mm, that slices may always be from their frame's pose
_FREE = 1e6  # mm: where a frame has no pose to believe


@dataclass(frozen=True, eq=False)
class Followed:
    """A trajectory at the end of its last stage.

    Attributes
    ----------
    state
        There.
    covariance
        ``(T, S, 6, 6)`` of slices' poses by noise alone, as motions of the reference: turn times
        radius, shift.
    model
        The template of that stage.
    compared
        Points of that stage, by a trajectory, or by frames' poses ``(T, 4, 4)`` instead.
    """

    trajectory: Trajectory
    state: State
    covariance: Tensor
    model: Model
    compared: Callable[..., Compared]


@dataclass(frozen=True, eq=False)
class SliceFit:
    """A trajectory and how well it explains the series.

    Attributes
    ----------
    trajectory
        Poses over time.
    similarity
        ``(T,)`` correlation of each frame's voxels with the template, as modelled.
    gains
        ``(T, S)`` of slices, relative to their frame's.
    found
        What it ended with.
    one_pose
        The slices' equations at their frames' poses.
    held_out
        ``(T, S)`` by how much the trajectory, had it not seen a slice, explains it better than its
        frame's one pose does, in observations; NaN where a slice shows nothing of the head.
    """

    trajectory: Trajectory
    similarity: NDArray[np.float64]
    gains: NDArray[np.float64]
    found: Followed
    one_pose: SliceEquations
    held_out: NDArray[np.float64]


class SliceProblem:
    """Frames, template and times that a trajectory is fitted to.

    Parameters
    ----------
    frames
        Scaled as the template is.
    template
        ``(X, Y, Z)``
    head
        In the reference.
    times
        Of the slices.
    usable
        ``(T,)`` frames that hold an image.
    good
        ``(T,)`` frames whose own pose is to be believed.
    """

    def __init__(
        self,
        frames: Frames,
        template: Tensor,
        head: Region,
        times: SliceTimes,
        usable: NDArray[np.bool_],
        good: NDArray[np.bool_],
    ) -> None:
        self.frames, self.template, self.head = frames, template, head
        self.times, self.usable, self.good = times, usable, good

    def fit(self, start: Trajectory, frame_poses: Tensor) -> SliceFit:
        """Follow the head through all slices, from coarse to fine; judge it by one pose a frame.

        Parameters
        ----------
        start
            As frames' poses have it.
        frame_poses
            ``(T, 4, 4)``
        """
        # what is blurred by as much as heads move between frames shows where they moved
        largest = float(self._believed(start).max()) / self._widest
        first = max(0, sum(stage.blur >= largest for stage in STAGES) - 1)
        begin = across_gaps(
            start, self.frames, self._model(BLUR), self.times, frame_poses, self.usable, self.good
        )
        return self._judged(self._follow(start, begin, STAGES[first:]), frame_poses)

    def refit(self, start: Trajectory, frame_poses: Tensor, found: Trajectory) -> SliceFit:
        """Repeat the last stage from what another template gave; stay in the space of that.

        Two templates of a head do not lie in quite the same place. How far they are apart is how
        far most frames are, as wholes, from their own poses; they are judged as they are there.
        """
        fine = self._follow(start, found, STAGES[-1:])
        steps = self._onward(fine, frame_poses)
        apart = self._small(steps[self.good].median(dim=0).values)
        fit = self._judged(fine, frame_poses @ self._small(steps))
        back = fit.trajectory.knots @ rigid.inverse(apart)
        return replace(fit, trajectory=replace(fit.trajectory, knots=back))

    def _follow(self, start: Trajectory, begin: Trajectory, stages: Sequence[Stage]) -> Followed:
        """Go through stages; to leave the start costs."""
        trajectory = begin
        for stage in stages:
            model = self._model(stage.blur)
            points = self._points(trajectory, model, stage.points)
            sigma: dict[int, Tensor] = {}
            priors = self.priors(start, stage.slack)
            compared = partial(self._compared, model, points, sigma)
            state_of = partial(self._state, compared)
            trajectory, state = self._descend(trajectory, priors, state_of, stage)
        covariance = self._slice_covariance(trajectory, state, priors)
        return Followed(trajectory, state, covariance, model, compared)

    def priors(self, start: Trajectory, slack: float = 1.0) -> Priors:
        """Of a trajectory: what bends cost, and leaving the start."""
        radius = self.head.radius
        spread = float(start.bends(radius)[0].norm(dim=1).median())
        scale = slack * max(spread, _LEAST_BEND)
        return partial(_priors, start, self._believed(start), radius, scale)

    def _judged(self, found: Followed, frame_poses: Tensor) -> SliceFit:
        """Compare a trajectory with one pose a frame."""
        state, one_pose = found.state, self._state(found.compared, found.trajectory, frame_poses)
        held_out = better_held_out(state, one_pose, found.covariance)
        return SliceFit(
            found.trajectory,
            state.similarity,
            state.gains,
            found,
            one_pose.of_slices,
            held_out.numpy(),
        )

    def covariance(self, fit: SliceFit) -> Tensor:
        """Of slices' poses ``(T, S, 6, 6)``, as motions of the reference: turn times radius, shift.

        See `uncertainty`.
        """
        found, good = fit.found, torch.from_numpy(self.good)
        times = self.times.of_all(self.frames.count)
        common = torch.zeros(self.frames.count, 6, 6, dtype=torch.float64)
        for points, of, steepest, at, sigma in found.compared(found.trajectory):
            common[points.frames] = of_frames(
                points, found.model.arms(at), *of.linear(steepest, sigma)
            )
        return (
            noise_scale(found.state.of_slices, found.covariance, good) * found.covariance
            + common[:, None]
            + between_knots(found.trajectory, times, self.head.radius)
        )

    def _onward(self, found: Followed, frame_poses: Tensor) -> Tensor:
        """From frames' poses to the one that is nearest to all their slices ``(T, 6)``, mm.

        Slices count by what they tell; frames that are not believed have none.
        """
        poses = found.trajectory.at(self.times.of_all(len(frame_poses)))
        apart = away(frame_poses[:, None], poses, self.head.center, self.head.radius)
        told = found.state.of_slices.hessian
        nearest = solve(told.sum(dim=1), (told @ apart[..., None]).sum(dim=1)[..., 0])
        return nearest * torch.from_numpy(self.good)[:, None]

    def _small(self, steps: Tensor) -> Tensor:
        """Motions ``(…, 4, 4)`` of the reference by steps ``(…, 6)`` mm."""
        center = self.head.center.expand(*steps.shape[:-1], 3)
        return rigid.from_parameters(steps[..., :3] / self.head.radius, steps[..., 3:], center)

    def _model(self, blur: float) -> Model:
        """The template, blurred by so many voxels in the slices' plane.

        Nowhere else, and frames alike: at rest both are then alike.
        """
        widths = [
            0.0 if axis == self.times.axis else blur * self._widest / size
            for axis, size in enumerate(self.frames.grid.sizes.tolist())
        ]
        return Model.of(self.template, self.head, widths)

    @property
    def _widest(self) -> float:
        """Of a voxel in the slices' plane, mm."""
        sizes = self.frames.grid.sizes.tolist()
        return max(size for axis, size in enumerate(sizes) if axis != self.times.axis)

    def _believed(self, start: Trajectory) -> Tensor:
        """How far from its frame's pose each knot may well be ``(K,)``, mm: a frame's way."""
        repetition = self.times.repetition_time
        before, after = (
            start.at(start.times - repetition / 2),
            start.at(start.times + repetition / 2),
        )
        step = away(before, after, start.center, self.head.radius).norm(dim=1)
        frame = (start.times / repetition + 1e-6).long().clamp(max=self.frames.count - 1)
        believed = torch.from_numpy(self.good)[frame]
        return torch.where(believed, step.square().add(_LEAST_AWAY**2).sqrt(), _FREE)

    def _slice_covariance(self, trajectory: Trajectory, state: State, priors: Priors) -> Tensor:
        """Of every slice's pose ``(T, S, 6, 6)``, from those of its two knots."""
        blocks, _ = assembled(state, *priors(trajectory))
        own, beside = knot_covariance(blocks)
        before, fraction = trajectory.between(self.times.of_all(self.frames.count))
        a = fraction[..., None, None]
        both = beside[before]
        return (
            (1 - a) ** 2 * own[before]
            + a**2 * own[before + 1]
            + a * (1 - a) * (both + both.transpose(-1, -2))
        )

    # ---------------------------------------------------------------------------------- points
    def _points(self, trajectory: Trajectory, model: Model, most: int) -> list[Points]:
        """Voxels of all frames that show the head by the trajectory, blurred as the template."""
        others = [a for a in range(3) if a != self.times.axis]
        shown = int(self.head.weights.amax(dim=others).gt(0.5).sum())
        found = []
        usable = np.flatnonzero(self.usable)
        for start in range(0, len(usable), _AT_ONCE):
            part = usable[start : start + _AT_ONCE].tolist()
            poses = trajectory.at(torch.stack([self.times.of(t) for t in part]))
            images = self.frames(part)
            grid, axis = self.frames.grid, self.times.axis
            many = max(1, most // max(1, shown))
            lost = self.frames.lost(part)
            chosen = choose(images, torch.tensor(part), poses, grid, axis, model, many, lost)
            found.append(chosen)
        return [points for points in found if points is not None]

    # ------------------------------------------------------------------------------------ descent
    def _descend(
        self,
        trajectory: Trajectory,
        priors: Priors,
        state_of: Callable[[Trajectory], State],
        stage: Stage,
    ) -> tuple[Trajectory, State]:
        state = state_of(trajectory)
        bends, anchor = priors(trajectory)
        damping = 1e-4
        for _ in range(stage.iterations):
            step = solved(state, bends, anchor, damping)
            trial = trajectory.moved(step, self.head.radius)
            new = state_of(trial)
            new_bends, new_anchor = priors(trial)
            cost = state.cost + bends.cost + anchor.cost
            if new.cost + new_bends.cost + new_anchor.cost > cost:
                damping *= 10
                if damping > 1e2:
                    break
                continue
            trajectory, state, damping = trial, new, max(damping / 5, 1e-6)
            bends, anchor = new_bends, new_anchor
            if float(step.norm(dim=1).max()) < stage.tolerance:
                break
        return trajectory, state

    def _state(
        self,
        compared: Callable[..., Compared],
        trajectory: Trajectory,
        instead: Tensor | None = None,
    ) -> State:
        """Cost and normal equations of all knots.

        Slices are where the trajectory has them, or at frames' poses ``(T, 4, 4)`` given instead.
        """
        state = State(len(trajectory.knots), self.frames.count, len(self.times.offsets))
        good = torch.from_numpy(self.good)
        for chosen, of, steepest, _, sigma in compared(trajectory, instead):
            equations = of.equations(steepest, sigma, good[chosen.frames])
            times = self.times.at(chosen.frame, chosen.slice_of)
            state.add(*trajectory.between(times), equations)
            state.keep(chosen.frame, chosen.slice_of, equations, of.gains)
            state.similarity[chosen.frames.numpy()] = of.similarity().numpy()
        return state

    def _compared(
        self,
        model: Model,
        points: Sequence[Points],
        sigma: dict[int, Tensor],
        trajectory: Trajectory,
        instead: Tensor | None = None,
    ) -> Compared:
        """Points of some frames at a time, their intensities, and what `equations` needs of them.

        Scales of residuals are found once and kept. With these, where the points are in the
        template: indices ``(3, M P)``.
        """
        radius = (self.head.radius / self.frames.grid.sizes).float()
        for number, chosen in enumerate(points):
            times = self.times.at(chosen.frame, chosen.slice_of)
            poses = trajectory.at(times) if instead is None else instead[chosen.frame]
            at = chosen.carried(poses, self.frames.grid, model)
            f, weights = (
                part.reshape(chosen.values.shape) for part in (model.values(at), model.weights(at))
            )
            of = SliceIntensity(chosen, f, weights * chosen.seen, radius)
            if number not in sigma:
                sigma[number] = of.scale()
            yield chosen, of, chosen.steepest(at, model), at, sigma[number]


Compared = Iterator[tuple[Points, SliceIntensity, Tensor, Tensor, Tensor]]
Priors = Callable[[Trajectory], tuple[BendPrior, AnchorPrior]]


def _priors(
    start: Trajectory, believed: Tensor, radius: float, scale: float, trajectory: Trajectory
) -> tuple[BendPrior, AnchorPrior]:
    bends = BendPrior(trajectory, radius, scale)
    return bends, AnchorPrior(trajectory, start, believed, radius)

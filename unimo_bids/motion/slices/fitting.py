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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.frames import Frames
from unimo_bids.motion.slices.intensity import Points, SliceIntensity
from unimo_bids.motion.slices.judge import better_held_out
from unimo_bids.motion.slices.solving import (
    AnchorPrior,
    BendPrior,
    State,
    assembled,
    knot_covariance,
    solved,
)
from unimo_bids.motion.slices.trajectory import SliceTimes, Trajectory
from unimo_bids.registration.least_squares import robust_scale
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid, inside, voxel_centers
from unimo_bids.spatial.interpolation import (
    gaussian_blur,
    gradient,
    sample_cubic,
    sample_linear,
    spline_coefficients,
)
from unimo_bids.spatial.region import Region

_BLURS = (3.0, 2.0, 1.0, 0.7)  # voxels in the slices' plane, from coarse to fine
_ITERATIONS = (12, 8, 6, 8)
_SLACK = (10.0, 5.0, 2.0, 1.0)  # times that bends may be wider while coarse
_POINTS = 8_000  # of a frame, those with most information
_LEAST_BEND = 0.05  # mm, that the prior always allows
_LEAST_AWAY = 0.1  # mm, that slices may always be from their frame's pose
_FREE = 1e6  # mm: where a frame has no pose to believe
_TOLERANCES = (0.1, 0.05, 0.02, 0.005)  # mm


@dataclass(frozen=True, eq=False)
class Model:
    """The template at one blur.

    Attributes
    ----------
    coefficients
        ``(1, 1, X, Y, Z)`` cubic spline of the image.
    linear
        ``(1, 4, X, Y, Z)`` its gradient per mm, and the head's weights.
    """

    grid: Grid
    coefficients: Tensor
    linear: Tensor

    @classmethod
    def of(cls, template: Tensor, head: Region, widths: Sequence[float]) -> Model:
        """Of a template ``(X, Y, Z)`` blurred by so many voxels along each axis."""
        smooth = gaussian_blur(template, widths)
        slopes = gradient(smooth, head.grid.affine).permute(3, 0, 1, 2)
        linear = torch.cat([slopes, head.weights[None]])
        return cls(head.grid, spline_coefficients(smooth)[None, None], linear[None])

    def read(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Slopes ``(N, 3)`` and weights ``(N,)`` at indices; nothing weighs beyond the grid."""
        read = sample_linear(self.linear, indices[None])[0]
        return read[:3].mT, read[3] * inside(indices, self.grid.shape)


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
    covariance
        ``(T, S, 6, 6)`` of slices' poses, as motions of the reference: turn times radius, shift.
    held_out
        ``(T, S)`` by how much the trajectory, had it not seen a slice, explains it better than its
        frame's one pose does, in observations; NaN where a slice shows nothing of the head.
    """

    trajectory: Trajectory
    similarity: NDArray[np.float64]
    gains: NDArray[np.float64]
    covariance: NDArray[np.float64]
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
        """Follow the head through all slices, from coarse to fine; judge it by one pose a frame."""
        trajectory = start
        believed, radius = self._believed(start), self.head.radius
        spread = float(start.bends(self.head.radius)[0].norm(dim=1).median())
        scale = max(spread, _LEAST_BEND)
        sizes = self.frames.grid.sizes.tolist()
        widest = max(size for axis, size in enumerate(sizes) if axis != self.times.axis)
        stages = zip(_BLURS, _ITERATIONS, _SLACK, _TOLERANCES, strict=True)
        for blur, iterations, slack, tolerance in stages:
            # in the slices' plane only, of the template as well: at rest both are then alike
            widths = [
                0.0 if axis == self.times.axis else blur * widest / size
                for axis, size in enumerate(sizes)
            ]
            model = Model.of(self.template, self.head, widths)
            points = self._points(trajectory, model, widths)
            sigma: dict[int, float] = {}
            priors = partial(_priors, start, believed, radius, slack * scale)
            trajectory, state = self._descend(
                trajectory,
                priors,
                partial(self._state, model, points, sigma),
                iterations,
                tolerance,
            )
        covariance = self._slice_covariance(trajectory, state, priors)
        poses = frame_poses[:, None].expand(-1, len(self.times.offsets), -1, -1)
        one_pose = self._state(model, points, sigma, trajectory, poses)
        held_out = better_held_out(state, one_pose, covariance, self.frames.count)
        return SliceFit(
            trajectory, state.similarity, state.gains, covariance.numpy(), held_out.numpy()
        )

    def _believed(self, start: Trajectory) -> Tensor:
        """How far from its frame's pose each knot may well be ``(K,)``, mm: a frame's way."""
        repetition = self.times.repetition_time
        before, after = (
            start.at(start.times - repetition / 2),
            start.at(start.times + repetition / 2),
        )
        turn, shift = rigid.to_parameters(
            rigid.inverse(before) @ after, start.center.expand(len(before), 3)
        )
        step = torch.cat([self.head.radius * turn, shift], dim=1).norm(dim=1)
        frame = (start.times / repetition + 1e-6).long().clamp(max=self.frames.count - 1)
        believed = torch.from_numpy(self.good)[frame]
        return torch.where(believed, step.square().add(_LEAST_AWAY**2).sqrt(), _FREE)

    def _slice_covariance(self, trajectory: Trajectory, state: State, priors: Priors) -> Tensor:
        """Of every slice's pose ``(T, S, 6, 6)``, from those of its two knots."""
        blocks, _ = assembled(state, *priors(trajectory))
        own, beside = knot_covariance(blocks)
        times = torch.stack([self.times.of(t) for t in range(self.frames.count)])
        before, fraction = trajectory.between(times)
        a = fraction[..., None, None]
        both = beside[before]
        return (
            (1 - a) ** 2 * own[before]
            + a**2 * own[before + 1]
            + a * (1 - a) * (both + both.transpose(-1, -2))
        )

    # ---------------------------------------------------------------------------------- points
    def _points(
        self, trajectory: Trajectory, model: Model, widths: Sequence[float]
    ) -> dict[int, Points]:
        """Voxels of every frame that show the head by the trajectory, blurred as the template."""
        points = {}
        for t in np.flatnonzero(self.usable).tolist():
            poses = trajectory.at(self.times.of(t))
            image = gaussian_blur(self.frames([t]), widths)[0]
            points[t] = self._of_frame(image, poses, model)
        return points

    def _of_frame(self, image: Tensor, poses: Tensor, model: Model) -> Points:
        grid, axis, radius = self.frames.grid, self.times.axis, self.head.radius
        center = rigid.transform(poses, self.head.center[None])[:, 0]
        low, high = center.amin(dim=0), center.amax(dim=0)
        reach = 1.6 * radius
        corners = torch.cartesian_prod(*torch.stack([low - reach, high + reach]).T)
        box = rigid.transform(grid.to_index, corners)
        first = box.amin(dim=0).floor().long().clamp(min=0)
        last = torch.minimum(box.amax(dim=0).ceil().long(), torch.tensor(grid.shape) - 1)
        if bool((last < first).any()):
            nothing = torch.zeros(0)
            nowhere = nothing.reshape(0, 3)
            return Points(nowhere, nothing.long(), nowhere, nothing, nothing)
        index = voxel_centers((last - first + 1).tolist()) + first
        slice_of = index[:, axis].long()
        slopes, weights = model.read(self._carried(index.float(), slice_of, poses, model))
        worth = weights * slopes.square().sum(dim=1).sqrt()
        worth[weights < 0.05] = 0
        if int((worth > 0).sum()) > _POINTS:
            kept = torch.topk(worth, _POINTS).indices.sort().values
        else:
            kept = torch.nonzero(worth > 0)[:, 0]
        index, slice_of = index[kept], slice_of[kept]
        i, j, k = index.long().T
        world = rigid.transform(grid.affine, index)
        place = (world - center.mean(dim=0)) / radius
        return Points(index.float(), slice_of, place.float(), image[i, j, k], weights[kept])

    def _carried(self, index: Tensor, slice_of: Tensor, poses: Tensor, model: Model) -> Tensor:
        """Where voxels are in the template: indices ``(N, 3)``."""
        back = model.grid.to_index @ rigid.inverse(poses) @ self.frames.grid.affine
        own = back.float()[slice_of]
        return (own[:, :3, :3] @ index[..., None])[..., 0] + own[:, :3, 3]

    # ------------------------------------------------------------------------------------ descent
    def _descend(
        self,
        trajectory: Trajectory,
        priors: Priors,
        state_of: Callable[[Trajectory], State],
        iterations: int,
        tolerance: float,
    ) -> tuple[Trajectory, State]:
        state = state_of(trajectory)
        bends, anchor = priors(trajectory)
        damping = 1e-4
        for _ in range(iterations):
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
            if float(step.norm(dim=1).max()) < tolerance:
                break
        return trajectory, state

    def _state(
        self,
        model: Model,
        points: dict[int, Points],
        sigma: dict[int, float],
        trajectory: Trajectory,
        instead: Tensor | None = None,
    ) -> State:
        """Cost and normal equations of all knots; scales of residuals are found once and kept.

        Slices are where the trajectory has them, or at the poses ``(T, S, 4, 4)`` given instead.
        """
        state = State(len(trajectory.knots), self.frames.count, len(self.times.offsets))
        to_place = model.grid.affine[:3].clone()  # mm from the head's centre
        to_place[:, 3] -= self.head.center
        to_place = to_place.float()
        for t, chosen in points.items():
            if len(chosen.values) < 100:
                continue
            times = self.times.of(t)
            before, fraction = trajectory.between(times)
            poses = trajectory.at(times) if instead is None else instead[t]
            at = self._carried(chosen.index, chosen.slice_of, poses, model)
            f = sample_cubic(model.coefficients, at[None])[0, 0]
            slopes, weights = model.read(at)
            frame = SliceIntensity(chosen, f, weights, len(times))
            if t not in sigma:
                sigma[t] = float(robust_scale(frame.residual()[None], weights[None])[0])
            arm = (at @ to_place[:, :3].mT + to_place[:, 3]) / self.head.radius
            steepest = torch.cat([torch.linalg.cross(arm, slopes), slopes], dim=1)
            equations = frame.normal_equations(steepest, sigma[t], bool(self.good[t]))
            state.add(before, fraction, equations)
            state.of_slices[t] = equations
            state.cost += float(equations.cost.sum())
            state.similarity[t] = frame.similarity()
            state.gains[t] = frame.gains.numpy()
        return state


Priors = Callable[[Trajectory], tuple[BendPrior, AnchorPrior]]


def _priors(
    start: Trajectory, believed: Tensor, radius: float, scale: float, trajectory: Trajectory
) -> tuple[BendPrior, AnchorPrior]:
    bends = BendPrior(trajectory, radius, scale)
    return bends, AnchorPrior(trajectory, start, believed, radius)

"""A trajectory through all slices of a series, in one banded Gauss–Newton problem.

The template is whole, a frame may be torn: so the frame's voxels y of slice s are carried to the
template, ``x = T(τ_s)⁻¹ y``, and compared there ::

    m(y) ≈ γ_s (g₀ + g·y) f(x) + b

The trajectory T has knots in time. A small motion δ of the reference before T moves x by -δ, and a
slice between two knots shares its normal equations among them by how near they are. Bends of the
trajectory cost as much as the series' own motion lets expect, but a jump must stay possible: the
penalty is that of a Cauchy distribution. What couples is neighbouring knots only: one banded solve
moves all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.frames import Frames
from unimo_bids.motion.slices.solving import BendPrior, State, solved
from unimo_bids.motion.slices.trajectory import SliceTimes, Trajectory
from unimo_bids.registration.intensity import CAUCHY
from unimo_bids.registration.least_squares import robust_scale, solve
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
_COUNT = 0.07  # of a voxel as an observation: blur makes neighbours agree
_GAIN_SPREAD = 0.15  # of slices' gains about their frame's
_LEAST_BEND = 0.05  # mm, that the prior always allows
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
class Points:
    """Voxels of one frame that are compared.

    Attributes
    ----------
    index
        ``(N, 3)`` float32
    slice_of
        ``(N,)``
    place
        ``(N, 3)`` in the scanner, relative to the frame's head, radii.
    values
        ``(N,)``
    """

    index: Tensor
    slice_of: Tensor
    place: Tensor
    values: Tensor


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
    """

    trajectory: Trajectory
    similarity: NDArray[np.float64]
    gains: NDArray[np.float64]


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
    """

    def __init__(
        self,
        frames: Frames,
        template: Tensor,
        head: Region,
        times: SliceTimes,
        usable: NDArray[np.bool_],
    ) -> None:
        self.frames, self.template, self.head = frames, template, head
        self.times, self.usable = times, usable

    def fit(self, start: Trajectory) -> SliceFit:
        """Follow the head through all slices, from coarse to fine."""
        trajectory = start
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
            trajectory, state = self._descend(
                trajectory, model, points, slack * scale, iterations, tolerance
            )
        return SliceFit(trajectory, state.similarity, state.gains)

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
            return Points(nothing.reshape(0, 3), nothing.long(), nothing.reshape(0, 3), nothing)
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
        return Points(index.float(), slice_of, place.float(), image[i, j, k])

    def _carried(self, index: Tensor, slice_of: Tensor, poses: Tensor, model: Model) -> Tensor:
        """Where voxels are in the template: indices ``(N, 3)``."""
        back = model.grid.to_index @ rigid.inverse(poses) @ self.frames.grid.affine
        own = back.float()[slice_of]
        return (own[:, :3, :3] @ index[..., None])[..., 0] + own[:, :3, 3]

    # ------------------------------------------------------------------------------------ descent
    def _descend(
        self,
        trajectory: Trajectory,
        model: Model,
        points: dict[int, Points],
        scale: float,
        iterations: int,
        tolerance: float,
    ) -> tuple[Trajectory, State]:
        sigma: dict[int, float] = {}
        state = self._state(trajectory, model, points, sigma)
        prior = BendPrior(trajectory, self.head.radius, scale)
        damping = 1e-4
        for _ in range(iterations):
            step = solved(state, prior, damping)
            trial = trajectory.moved(step, self.head.radius)
            new = self._state(trial, model, points, sigma)
            new_prior = BendPrior(trial, self.head.radius, scale)
            if new.cost + new_prior.cost > state.cost + prior.cost:
                damping *= 10
                if damping > 1e2:
                    break
                continue
            trajectory, state, prior, damping = trial, new, new_prior, max(damping / 5, 1e-6)
            if float(step.norm(dim=1).max()) < tolerance:
                break
        return trajectory, state

    def _state(
        self,
        trajectory: Trajectory,
        model: Model,
        points: dict[int, Points],
        sigma: dict[int, float],
    ) -> State:
        """Cost and normal equations of all knots; scales of residuals are found once and kept."""
        state = State(len(trajectory.knots), self.frames.count, len(self.times.offsets))
        to_place = model.grid.affine[:3].clone()  # mm from the head's centre
        to_place[:, 3] -= self.head.center
        to_place = to_place.float()
        for t, chosen in points.items():
            if len(chosen.values) < 100:
                continue
            times = self.times.of(t)
            before, fraction = trajectory.between(times)
            poses = trajectory.at(times)
            at = self._carried(chosen.index, chosen.slice_of, poses, model)
            f = sample_cubic(model.coefficients, at[None])[0, 0]
            slopes, weights = model.read(at)
            frame = _Frame(chosen, f, weights, len(times))
            if t not in sigma:
                sigma[t] = float(robust_scale(frame.residual()[None], weights[None])[0])
            arm = (at @ to_place[:, :3].mT + to_place[:, 3]) / self.head.radius
            steepest = torch.cat([torch.linalg.cross(arm, slopes), slopes], dim=1)
            hessian, rhs, cost = frame.normal_equations(steepest, sigma[t])
            state.add(before, fraction, hessian, rhs)
            state.cost += cost
            state.similarity[t] = frame.similarity()
            state.gains[t] = frame.gains.numpy()
        return state


class _Frame:
    """Intensities of one frame: gain, its slope in the scanner, offset, and gains of slices."""

    def __init__(self, points: Points, f: Tensor, weights: Tensor, slices: int) -> None:
        self.points, self.f, self.weights, self.slices = points, f, weights, slices
        m = points.values
        columns = torch.cat([f[None], f * points.place.T, torch.ones_like(f)[None]])
        gram = ((weights * columns) @ columns.T).double()
        rhs = ((weights * m) @ columns.T).double()
        coefficients = solve(gram[None], rhs[None])[0].float()
        self.gain = coefficients[0] + points.place @ coefficients[1:4]
        self.offset = coefficients[4]
        self.gains = torch.ones(slices)
        explained = self.gain * f
        rest = m - explained - self.offset
        variance = (weights * rest**2).sum() / weights.sum().clamp(min=1e-6)
        shrink = variance / (_COUNT * _GAIN_SPREAD**2)
        top = torch.zeros(slices).index_add_(0, points.slice_of, weights * explained * rest)
        bottom = torch.zeros(slices).index_add_(0, points.slice_of, weights * explained**2)
        self.gains = 1 + top / (bottom + shrink).clamp(min=1e-12)
        self.gain = self.gain * self.gains[points.slice_of]

    def residual(self) -> Tensor:
        return self.points.values - self.gain * self.f - self.offset

    def similarity(self) -> float:
        """Correlation of the frame with the model."""
        w = self.weights / self.weights.sum().clamp(min=1e-6)
        m = self.points.values
        total = (w * (m - (w * m).sum()) ** 2).sum()
        left = (w * self.residual() ** 2).sum()
        return float((1 - left / total.clamp(min=1e-12)).clamp(0, 1).sqrt())

    def normal_equations(self, steepest: Tensor, sigma: float) -> tuple[Tensor, Tensor, float]:
        """Of each slice ``(S, 6, 6)`` and ``(S, 6)``, and the cost, as observations."""
        r = self.residual() / sigma
        squared = (r / CAUCHY) ** 2
        weights = _COUNT * self.weights / (1 + squared)
        jacobian = -(self.gain / sigma)[:, None] * steepest
        first, second = torch.triu_indices(6, 6)
        products = torch.cat(
            [
                (weights[:, None] * jacobian)[:, first] * jacobian[:, second],
                (weights * r)[:, None] * jacobian,
            ],
            dim=1,
        )
        sums = torch.zeros(self.slices, 27).index_add_(0, self.points.slice_of, products).double()
        hessian = torch.empty(self.slices, 6, 6, dtype=torch.float64)
        hessian[:, first, second] = hessian[:, second, first] = sums[:, :21]
        cost = float((self.weights * torch.log1p(squared)).sum()) * _COUNT * CAUCHY**2 / 2
        return hessian, sums[:, 21:], cost

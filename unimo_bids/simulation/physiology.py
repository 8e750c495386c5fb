"""What happens in the head itself: fluctuation, activation, and the field it distorts.

These parts live in the head's own space and move with it. Places are in units of the radius of a
ball of the brain's volume (`Anatomy.radius`), so that they suit a fetus and an adult: x to the
right, y to the front, z up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from unimo_bids.simulation.anatomy import Anatomy
from unimo_bids.simulation.artefacts import Artefact, Moment
from unimo_bids.simulation.render import object_points
from unimo_bids.simulation.shapes import smooth_noise
from unimo_bids.spatial.interpolation import sample_linear

Place = tuple[float, float, float]

# Air next to the brain, where fields and signal loss come from: frontal sinus and both ear canals,
# in brain radii, read off an adult head
AIR_SPACES: tuple[Place, ...] = ((0.0, 1.0, -0.45), (0.9, -0.1, -0.6), (-0.9, -0.1, -0.6))


def _bumps(points: Tensor, places: tuple[Place, ...], width: float, radius: float) -> Tensor:
    """Sum of Gaussians of standard deviation ``width`` radii at ``places``, ``(N,)``."""
    total = torch.zeros(len(points), dtype=points.dtype)
    for place in places:
        offset = points / radius - torch.tensor(place, dtype=points.dtype)
        total += torch.exp(-0.5 * (offset**2).sum(dim=1) / width**2)
    return total


@dataclass(frozen=True)
class BoldFluctuation(Artefact):
    """Spontaneous fluctuation: smooth maps in the head, each with a slow time course.

    Parameters
    ----------
    strength
        Standard deviation over time, relative to the signal.
    period
        Seconds; the shortest period of the time courses (BOLD is slower than 0.1 Hz).
    """

    strength: float = 0.01
    maps: int = 8
    period: float = 10.0

    def modulation(self, head_points: Tensor, moment: Moment) -> Tensor | None:
        """Sum of the maps at this moment."""
        rng = moment.series_rng()
        frames = len(moment.poses)
        noise = rng.standard_normal((self.maps, frames + 200))  # the filter's warming-up is cut off
        width = max(self.period / moment.repetition_time / 4, 0.5)
        courses = ndimage.gaussian_filter1d(noise, width, axis=1)[:, 100 : 100 + frames]
        courses /= ndimage.gaussian_filter1d(noise, width, axis=1).std(axis=1, keepdims=True)
        size, reach = 24, 1.6  # a cube of ±1.6 brain radii, a quarter radius of smoothness
        field = np.zeros((size, size, size), dtype=np.float32)
        for course in courses:
            field += course[moment.frame] * smooth_noise(field.shape, 2.0, rng)
        field *= self.strength / np.sqrt(self.maps)
        indices = (head_points / (moment.head.radius * reach) + 1) * (size - 1) / 2
        return sample_linear(torch.from_numpy(field)[None, None], indices[None])[0, 0]


@dataclass(frozen=True)
class Activation(Artefact):
    """A block task that activates known places of the brain.

    Parameters
    ----------
    places
        Centres of the active regions, in brain radii.
    width
        Standard deviation of a region, in brain radii.
    amplitude
        Relative signal change at a centre; 0.02 is common at 3 T.
    block
        Seconds of task, then as many of rest; a run begins with rest.
    """

    places: tuple[Place, ...] = ((0.65, 0.1, 0.45), (-0.45, -0.9, 0.1))
    width: float = 0.18
    amplitude: float = 0.02
    block: float = 20.0

    def regressor(self, frames: int, repetition_time: float) -> NDArray[np.float64]:
        """How active, 0 to 1, ``(T,)``: blocks convolved with a haemodynamic response."""
        step = 0.1
        seconds = np.arange(0, frames * repetition_time + step, step)
        task = ((seconds // self.block) % 2 == 1).astype(np.float64)
        lag = np.arange(0, 25, step)
        response = lag**5 * np.exp(-lag)  # gamma, its peak at 5 s as in canonical responses
        course = np.convolve(task, response / response.sum())[: len(seconds)]
        return np.interp((np.arange(frames) + 0.5) * repetition_time, seconds, course)

    def strength(self, head_points: Tensor, head: Anatomy) -> Tensor:
        """Relative change ``(N,)`` at full activation at points ``(N, 3)`` of the head."""
        return self.amplitude * _bumps(head_points, self.places, self.width, head.radius)

    def modulation(self, head_points: Tensor, moment: Moment) -> Tensor | None:
        """Raise the active regions at this moment."""
        active = self.regressor(len(moment.poses), moment.repetition_time)[moment.frame]
        return float(active) * self.strength(head_points, moment.head)


@dataclass(frozen=True)
class PhaseEncodeDistortion(Artefact):
    """Signal misplaced along one axis of the grid, with its Jacobian.

    A voxel at ``y`` shows the signal of ``y + d(y) a`` (a: unit vector of the axis), times
    ``1 + ∂d/∂a``, so that no signal is made or lost.

    Parameters
    ----------
    amplitude_mm
        Largest displacement, about.
    axis
        Phase-encode axis of the grid: 0, 1 or 2.
    attached
        ``head``: the field comes from the head's air spaces and moves with it; ``scanner``: it
        stays.
    width
        Extent of the field of one air space, in brain radii.
    """

    amplitude_mm: float = 3.0
    axis: int = 1
    attached: str = "head"
    width: float = 0.5

    def displacement(self, points: Tensor, moment: Moment) -> Tensor:
        """``d`` in mm at world points ``(N, 3)``."""
        if self.attached == "head":
            points = object_points(points, moment.poses[moment.frame])
        elif self.attached != "scanner":
            raise ValueError(f"attached is head or scanner, not {self.attached!r}")
        rng = moment.series_rng()
        # the front and the sides push opposite ways; a random field adds what differs by subject
        field = _bumps(points, AIR_SPACES[:1], self.width, moment.head.radius)
        field = field - 0.7 * _bumps(points, AIR_SPACES[1:], self.width, moment.head.radius)
        for _ in range(3):
            place = tuple(rng.uniform(-1, 1, 3))
            weight = rng.uniform(-0.4, 0.4)
            field = field + weight * _bumps(points, (place,), self.width, moment.head.radius)
        return self.amplitude_mm * field

    def distortion(self, points: Tensor, moment: Moment) -> tuple[Tensor, Tensor] | None:
        """Where the signal of every voxel comes from, and the Jacobian."""
        shift = self.displacement(points, moment)
        step = torch.as_tensor(moment.affine[:3, self.axis]).to(points.dtype)
        size = torch.linalg.norm(step)
        on_grid = shift.reshape(moment.shape)
        slope = torch.gradient(on_grid, spacing=float(size), dim=self.axis)[0].reshape(-1)
        return points + shift[:, None] * (step / size), (1 + slope).clamp(min=0)

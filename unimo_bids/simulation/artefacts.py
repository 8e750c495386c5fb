"""What goes wrong in EPI, as small parts that compose.

A part overrides the stages it acts at; a series passes every frame through the parts in order,
stage by stage:

1. ``contrast``: the intensities of the tissues, before anything is rendered;
2. ``slice_poses``: where the head is while each slice is acquired;
3. ``distortion``: which points of the world the voxels really show, and the Jacobian;
4. ``modulation``: a factor on the brain's signal, in the head's own space;
5. ``scanner``: the finished frame, in the scanner's space.

Every part draws from its own generator (`Moment.rng`), seeded by series, part and frame: frames can
be rendered alone and parts be removed without changing what the others draw.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.simulation.anatomy import Anatomy
from unimo_bids.spatial import rigid

Frame = NDArray[np.float32]
Matrices = NDArray[np.float64]
AIR_BELOW = 50.0  # the brain's mean is 1000: air and gas, which have no signal in any contrast


@dataclass(frozen=True)
class Moment:
    """All that a part may know about the frame it acts on.

    Parameters
    ----------
    poses
        ``(T, 4, 4)`` head poses of the whole series, RAS mm.
    shape, affine
        The scanner's grid; slices lie along its last axis.
    seed
        Of the series and of the part.
    occupancy
        ``(X, Y, Z)`` how much of each voxel the head fills in this frame; only for ``scanner``.
    """

    frame: int
    poses: Matrices
    shape: tuple[int, int, int]
    affine: Matrices
    repetition_time: float
    head: Anatomy
    seed: tuple[int, ...] = (0,)
    occupancy: Frame | None = None

    def rng(self, what: str = "") -> np.random.Generator:
        """Draws that are new in every frame, and for every ``what``."""
        return np.random.default_rng([*self.seed, 1, self.frame, *what.encode()])

    def series_rng(self) -> np.random.Generator:
        """Draws that are the same in all frames."""
        return np.random.default_rng([*self.seed, 0])

    def with_occupancy(self, occupancy: Frame) -> Moment:
        """Add where the head is, once that is known."""
        return replace(self, occupancy=occupancy)

    def of_part(self, number: int) -> Moment:
        """Give the moment the generators of a part."""
        return replace(self, seed=(*self.seed, number))


class Artefact:
    """A part that does nothing at any stage."""

    def contrast(
        self, intensities: NDArray[np.float32], what: Anatomy, moment: Moment
    ) -> NDArray[np.float32]:
        """Intensities ``(L,)`` of the labels of ``what`` in this frame."""
        return intensities

    def slice_poses(self, poses: Matrices, moment: Moment) -> Matrices:
        """Poses ``(4, 4)``, or ``(Z, 4, 4)`` once they differ between slices."""
        return poses

    def distortion(self, points: Tensor, moment: Moment) -> tuple[Tensor, Tensor] | None:
        """World points ``(N, 3)`` that the voxels really show, and the Jacobian ``(N,)``."""
        return None

    def modulation(self, head_points: Tensor, moment: Moment) -> Tensor | None:
        """Relative change ``(N,)`` of the brain's signal at points of the head; None for none."""
        return None

    def scanner(self, image: Frame, moment: Moment) -> Frame:
        """Turn the finished frame ``(X, Y, Z)`` into what the scanner delivers."""
        return image


def acquisition_times(slices: int, interleave: int = 2, bands: int = 1) -> NDArray[np.float64]:
    """When each slice is acquired, in repetition times from the start of the frame, ``(Z,)``.

    `bands`: slices that are excited at once, evenly spread; they divide all.

    >>> acquisition_times(4, interleave=2).tolist()
    [0.0, 0.5, 0.25, 0.75]
    >>> acquisition_times(4, bands=2).tolist()
    [0.0, 0.5, 0.0, 0.5]
    """
    if bands > 1:
        return np.tile(acquisition_times(slices // bands, interleave), bands)
    order = np.concatenate([np.arange(first, slices, interleave) for first in range(interleave)])
    times = np.empty(slices)
    times[order] = np.arange(slices) / slices
    return times


def cosine_field(shape: tuple[int, int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth random field on a grid: cosines of up to three half waves, mean 0, peak ± 1."""
    weights = rng.standard_normal((4, 4, 4))
    waves = np.arange(4)
    weights /= 1 + np.sqrt((np.stack(np.meshgrid(waves, waves, waves)) ** 2).sum(axis=0))
    weights[0, 0, 0] = 0
    x, y, z = (np.cos(np.pi * np.outer(waves, (np.arange(n) + 0.5) / n)) for n in shape)
    field = np.einsum("abc,ax,by,cz->xyz", weights, x, y, z, optimize=True)
    return np.asarray(field / np.abs(field).max(), dtype=np.float32)


@dataclass(frozen=True)
class RicianNoise(Artefact):
    """Magnitude of a signal with Gaussian noise ``sigma`` in its real and imaginary part.

    The brain's mean is about 1000, so ``sigma = 1000 / snr``.
    """

    sigma: float

    def scanner(self, image: Frame, moment: Moment) -> Frame:
        """Add the noise."""
        rng = moment.rng()
        real = image + self.sigma * rng.standard_normal(image.shape, dtype=np.float32)
        imaginary = self.sigma * rng.standard_normal(image.shape, dtype=np.float32)
        return np.hypot(real, imaginary)


@dataclass(frozen=True)
class Drift(Artefact):
    """Slow change of the scanner's gain over the series: a line and half a cosine, ± ``amount``."""

    amount: float = 0.02

    def scanner(self, image: Frame, moment: Moment) -> Frame:
        """Scale the frame."""
        slope, bend = moment.series_rng().uniform(-1, 1, 2)
        when = moment.frame / max(len(moment.poses) - 1, 1)
        curve = slope * (when - 0.5) + bend * 0.5 * np.cos(2 * np.pi * when)
        return image * np.float32(1 + self.amount * curve)


@dataclass(frozen=True)
class ReceiveBias(Artefact):
    """Sensitivity of the coil: a smooth field, fixed in the scanner, within 1 ± ``strength``."""

    strength: float = 0.3

    def scanner(self, image: Frame, moment: Moment) -> Frame:
        """Multiply by the field."""
        field = cosine_field(moment.shape, moment.series_rng())
        return image * (1 + np.float32(self.strength) * field)


@dataclass(frozen=True)
class SpinHistory(Artefact):
    """Signal of tissue that reaches its slice too early or too late since its last excitation.

    Tissue that is in slice ``k`` now and was at slice position ``k'`` in the frame before waited
    ``Δ = TR + t(k) - t(k')`` (t: acquisition time of a slice) and gives
    ``(1 - exp(-Δ/T1)) / (1 - exp(-TR/T1))`` of the steady signal, for 90° pulses. Where ``k'`` lies
    outside the slices, the tissue is fresh. Acts on the head only: the surroundings rest.

    Parameters
    ----------
    interleave
        2 for odd and even slices.
    t1
        Seconds; 1.4 for brain at 3 T.
    strength
        Factor on the deviation from 1.
    """

    interleave: int = 2
    t1: float = 1.4
    strength: float = 1.0

    def gain(self, moment: Moment) -> Frame:
        """Factor on the head's signal, ``(X, Y, Z)``."""
        if moment.frame == 0:
            return np.ones(moment.shape, dtype=np.float32)
        now, before = torch.as_tensor(moment.poses[[moment.frame, moment.frame - 1]])
        affine = torch.as_tensor(moment.affine)
        back = torch.linalg.inv(affine) @ before @ rigid.inverse(now) @ affine
        row = back[2].numpy()
        i, j, k = np.ogrid[tuple(slice(n) for n in moment.shape)]
        position = row[0] * i + row[1] * j + row[2] * k + row[3]
        slices = moment.shape[2]
        times = acquisition_times(slices, self.interleave)
        tr = moment.repetition_time
        lower = np.floor(position + 1e-9).astype(int)
        fraction = np.clip(position - lower, 0, 1)
        relaxed = np.zeros(moment.shape)
        for neighbour, weight in ((lower, 1 - fraction), (lower + 1, fraction)):
            excited = (neighbour >= 0) & (neighbour < slices)
            waited = tr * (1 + times[k] - times[np.clip(neighbour, 0, slices - 1)])
            relaxed += weight * np.where(excited, 1 - np.exp(-waited / self.t1), 1.0)
        steady = 1 - np.exp(-tr / self.t1)
        return np.asarray(1 + self.strength * (relaxed / steady - 1), dtype=np.float32)

    def scanner(self, image: Frame, moment: Moment) -> Frame:
        """Scale what the head contributes."""
        gain = self.gain(moment)
        return image * (gain if moment.occupancy is None else 1 + (gain - 1) * moment.occupancy)


@dataclass(frozen=True)
class TornVolume(Artefact):
    """The head moves while the slices of a frame are acquired.

    A slice acquired at time τ of its frame (in repetition times, ½ is the middle) shows the head
    between its poses: on the way from the frame before for τ < ½ and to the frame after beyond.
    The frame's own pose is that of its middle.

    Parameters
    ----------
    frames
        Which frames are torn; None draws them with ``probability``.
    sudden
        The head jumps from the pose of the frame before to its own at a random τ < ½, so that most
        slices show the frame's own pose, instead of moving all the time.
    """

    frames: tuple[int, ...] | None = None
    probability: float = 1.0
    interleave: int = 2
    sudden: bool = False

    def slice_poses(self, poses: Matrices, moment: Moment) -> Matrices:
        """Give every slice its pose."""
        rng = moment.rng()
        drawn, tear = rng.random(), rng.uniform(0.1, 0.5)
        torn = drawn < self.probability if self.frames is None else moment.frame in self.frames
        if not torn:
            return poses
        t, last = moment.frame, len(moment.poses) - 1
        times = torch.as_tensor(acquisition_times(moment.shape[2], self.interleave))
        around = torch.as_tensor(moment.poses[[max(t - 1, 0), t, min(t + 1, last)]])
        before, own, after = (pose.expand(len(times), 4, 4) for pose in around)
        if self.sudden:
            return torch.where((times < tear)[:, None, None], before, own).numpy()
        origin = torch.zeros(3, dtype=torch.float64)
        earlier = rigid.interpolate(before, own, (times + 0.5).clamp(max=1), origin)
        later = rigid.interpolate(own, after, (times - 0.5).clamp(min=0), origin)
        return torch.where((times < 0.5)[:, None, None], earlier, later).numpy()


@dataclass(frozen=True)
class ContinuousMotion(Artefact):
    """The head never rests: every slice shows it where it is at its time.

    Parameters
    ----------
    way
        ``(T · per_frame + 1, 4, 4)`` RAS mm, evenly spaced in time from the start of the first
        frame to the end of the last; a frame's own pose should be that of its middle.
    per_frame
        Steps of the way in a frame; many, as the head moves evenly during one.
    """

    way: Matrices
    per_frame: int
    interleave: int = 2
    bands: int = 1

    def slice_poses(self, poses: Matrices, moment: Moment) -> Matrices:
        """Give every slice its pose."""
        times = moment.frame + acquisition_times(moment.shape[2], self.interleave, self.bands)
        place = np.clip(times * self.per_frame, 0, len(self.way) - 1)
        before = np.minimum(place.astype(int), len(self.way) - 2)
        return rigid.interpolate(
            torch.as_tensor(self.way[before]),
            torch.as_tensor(self.way[before + 1]),
            torch.as_tensor(place - before),
            torch.zeros(3, dtype=torch.float64),
        ).numpy()


@dataclass(frozen=True)
class ContrastChange(Artefact):
    """Another contrast: the intensities of the tissues are drawn anew.

    Parameters
    ----------
    frames
        In which frames; None is all of them, each with its own contrast.
    amount
        1 forgets the default contrast, 0 keeps it.
    """

    frames: tuple[int, ...] | None = None
    amount: float = 1.0

    def contrast(
        self, intensities: NDArray[np.float32], what: Anatomy, moment: Moment
    ) -> NDArray[np.float32]:
        """Draw intensities; air and what is absent stay as they are."""
        if self.frames is not None and moment.frame not in self.frames:
            return intensities
        drawn = moment.rng(what.name).uniform(150, 1700, len(intensities)).astype(np.float32)
        mixed = (1 - self.amount) * intensities + np.float32(self.amount) * drawn
        mixed[intensities < AIR_BELOW] = intensities[intensities < AIR_BELOW]
        return np.asarray(mixed, dtype=np.float32)

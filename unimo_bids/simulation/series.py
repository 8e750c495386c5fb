"""Series with exact truth: a scene, rendered frame by frame, and what is known about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.simulation.anatomy import Anatomy
from unimo_bids.simulation.artefacts import Artefact, Moment
from unimo_bids.simulation.physiology import Activation
from unimo_bids.simulation.render import (
    Grid,
    Source,
    default_psf,
    in_contrast,
    object_points,
    object_source,
    sample,
)
from unimo_bids.simulation.shapes import centered_affine

INTENSITY, BRAIN, PRESENCE = 0, 1, 2  # channels of an object's source, by how often needed
BRAIN_POINTS = 4000  # a mean displacement over them is good to three digits


@dataclass
class Scene:
    """A head that moves, what surrounds it, the scanner's grid and all that goes wrong.

    Frames are rendered on demand and do not depend on each other.
    """

    head: Anatomy
    head_poses: NDArray[np.float64]
    grid: Grid
    surroundings: Anatomy | None = None
    surroundings_poses: NDArray[np.float64] | None = None
    artefacts: Sequence[Artefact] = ()
    repetition_time: float = 2.0
    seed: int = 0

    def frame(self, t: int) -> NDArray[np.float32]:
        """Frame ``t``, ``(X, Y, Z)`` float32."""
        moment = self._moment(t)
        head, body = self._sources(moment)
        image = torch.zeros(int(np.prod(self.grid.shape)))
        occupancy = torch.zeros_like(image)
        planes = self.grid.planes()
        for plane in planes:
            points, jacobian = self._distorted(plane, moment)
            head_points = object_points(points, self._slice_poses(moment))
            values = sample(head, head_points, slice(0, self._channels))
            signal = values[INTENSITY]
            self._modulate(signal, values, head_points, moment)
            if body is not None:
                behind = self._behind(plane, points, body, t)
                signal = signal + (1 - values[PRESENCE]) * behind
                occupancy += values[PRESENCE]
            image += signal if jacobian is None else signal * jacobian
        frame = self._volume(image / len(planes)).clip(min=0)  # cubic undershoot at dark edges
        if body is not None:
            moment = moment.with_occupancy(self._volume(occupancy / len(planes)))
        for number, part in enumerate(self.artefacts):
            frame = part.scanner(frame, moment.of_part(number))
        return frame

    def brain(self, t: int) -> NDArray[np.float32]:
        """Brain fraction of frame ``t`` where the frame shows it (distorted, torn), 0 to 1."""
        moment = self._moment(t)
        total = torch.zeros(int(np.prod(self.grid.shape)))
        planes = self.grid.planes()
        for plane in planes:
            points, _ = self._distorted(plane, moment)
            head_points = object_points(points, self._slice_poses(moment))
            total += sample(self._head_source, head_points, slice(BRAIN, BRAIN + 1))[0]
        return self._volume(total / len(planes)).clip(0, 1)

    def slice_poses(self) -> NDArray[np.float64]:
        """Where the head is in every slice, ``(T, S, 4, 4)`` RAS mm."""
        every = [
            np.broadcast_to(self._slice_poses(self._moment(t)), (self.grid.shape[2], 4, 4))
            for t in range(len(self.head_poses))
        ]
        return np.stack(every)

    def moment(self, t: int, part: int) -> Moment:
        """What the artefact of that number knows of frame ``t``."""
        return self._moment(t).of_part(part)

    def _moment(self, t: int) -> Moment:
        return Moment(
            frame=t,
            poses=self.head_poses,
            shape=self.grid.shape,
            affine=self.grid.affine,
            repetition_time=self.repetition_time,
            head=self.head,
            seed=(self.seed,),
        )

    def _volume(self, values: Tensor) -> NDArray[np.float32]:
        return values.reshape(self.grid.shape).numpy()

    @cached_property
    def _head_source(self) -> Source:
        return object_source(self.head, self.grid.psf_mm)

    @cached_property
    def _body_source(self) -> Source | None:
        if self.surroundings is None:
            return None
        return object_source(self.surroundings, self.grid.psf_mm)

    @cached_property
    def _planes(self) -> dict[float, Tensor]:
        return {plane: self.grid.points(plane) for plane in self.grid.planes()}

    @cached_property
    def _still_behind(self) -> dict[float, Tensor]:
        return {}

    def _overridden(self, stage: str) -> bool:
        return any(getattr(type(p), stage) is not getattr(Artefact, stage) for p in self.artefacts)

    @cached_property
    def _channels(self) -> int:
        if self.surroundings is not None:
            return 3
        return 2 if self._overridden("modulation") else 1

    def _sources(self, moment: Moment) -> tuple[Source, Source | None]:
        """Head and surroundings in the contrast of this frame."""
        if not self._overridden("contrast"):
            return self._head_source, self._body_source
        head = self._in_contrast(self.head, self._head_source, moment)
        if self.surroundings is None or self._body_source is None:
            return head, None
        return head, self._in_contrast(self.surroundings, self._body_source, moment)

    def _in_contrast(self, what: Anatomy, usual: Source, moment: Moment) -> Source:
        intensities = what.intensities
        for number, part in enumerate(self.artefacts):
            intensities = part.contrast(intensities, what, moment.of_part(number))
        if np.array_equal(intensities, what.intensities):
            return usual
        return in_contrast(usual, what, self.grid.psf_mm, intensities)

    def _slice_poses(self, moment: Moment) -> NDArray[np.float64]:
        poses = self.head_poses[moment.frame]
        for number, part in enumerate(self.artefacts):
            poses = part.slice_poses(poses, moment.of_part(number))
        return poses

    def _distorted(self, plane: float, moment: Moment) -> tuple[Tensor, Tensor | None]:
        """Where the signal of every voxel comes from, and how much it is compressed."""
        points, jacobian = self._planes[plane], None
        for number, part in enumerate(self.artefacts):
            found = part.distortion(points, moment.of_part(number))
            if found is not None:
                points = found[0]
                jacobian = found[1] if jacobian is None else jacobian * found[1]
        return points, jacobian

    def _modulate(
        self, signal: Tensor, values: Tensor, head_points: Tensor, moment: Moment
    ) -> None:
        """Scale the brain's signal in place."""
        if not self._overridden("modulation"):
            return
        where = torch.nonzero(values[BRAIN] > 1e-3)[:, 0]
        brain = values[BRAIN, where]
        for number, part in enumerate(self.artefacts):
            change = part.modulation(head_points[where], moment.of_part(number))
            if change is not None:
                signal[where] *= 1 + brain * change

    def _behind(self, plane: float, points: Tensor, body: Source, t: int) -> Tensor:
        """Sample what the head hides, ``(N,)``; once, if it is the same in every frame."""
        fixed = self.surroundings_poses is None and not (
            self._overridden("distortion") or self._overridden("contrast")
        )
        if fixed and plane in self._still_behind:
            return self._still_behind[plane]
        if self.surroundings_poses is not None:
            points = object_points(points, self.surroundings_poses[t])
        behind = sample(body, points, slice(0, 1))[0]
        if fixed:
            self._still_behind[plane] = behind
        return behind


@dataclass(frozen=True)
class KnownActivation:
    """The activation that was put into a series.

    Parameters
    ----------
    map
        ``(X, Y, Z)`` relative signal change at full activation, in the reference frame.
    regressor
        ``(T,)`` how active, 0 to 1.
    """

    map: NDArray[np.float32]
    regressor: NDArray[np.float64]


@dataclass
class SimulatedSeries:
    """A series and the truth about it.

    Parameters
    ----------
    data
        ``(X, Y, Z, T)`` float32.
    affine
        ``(4, 4)`` indices → RAS mm.
    poses
        ``(T, 4, 4)`` float64 RAS mm, reference frame → frame; exactly the identity at `reference`.
    brain
        ``(X, Y, Z)`` float32 brain fraction of the reference frame, as it is seen there.
    brain_points
        ``(N, 3)`` RAS mm: points of the brain in reference space, at most 4000.
    """

    data: NDArray[np.float32]
    affine: NDArray[np.float64]
    poses: NDArray[np.float64]
    brain: NDArray[np.float32]
    brain_points: NDArray[np.float64]
    reference: int
    repetition_time: float
    name: str
    activation: KnownActivation | None
    scene: Scene

    def brain_masks(self) -> NDArray[np.uint8]:
        """Masks of where the brain truly is, ``(X, Y, Z, T)``: more than half of the voxel."""
        frames = len(self.poses)
        masks = np.empty((frames, *self.data.shape[:3]), dtype=np.uint8)
        for t in range(frames):
            masks[t] = self.scene.brain(t) > 0.5
        return np.moveaxis(masks, 0, -1)


def simulate(
    head: Anatomy,
    head_poses: NDArray[np.float64],
    *,
    shape: Sequence[int],
    voxel_sizes: Sequence[float] | float | None = None,
    affine: NDArray[np.float64] | None = None,
    surroundings: Anatomy | None = None,
    surroundings_poses: NDArray[np.float64] | None = None,
    artefacts: Sequence[Artefact] = (),
    reference: int = 0,
    repetition_time: float = 2.0,
    seed: int = 0,
    psf_mm: float | None = None,
    name: str | None = None,
) -> SimulatedSeries:
    """Render a series of a moving head.

    Parameters
    ----------
    head
        What moves.
    head_poses
        ``(T, 4, 4)`` RAS mm: where the head is in every frame.
    shape
        ``(X, Y, Z)`` of the frames; slices lie along the last axis.
    voxel_sizes
        mm, of an axis-aligned grid about the world's origin; or give an `affine`.
    affine
        ``(4, 4)`` of the frames; may be oblique, flipped, anisotropic.
    surroundings
        What the head moves in; air if not given.
    surroundings_poses
        ``(T, 4, 4)``, for surroundings that move too.
    artefacts
        What goes wrong, in this order.
    reference
        The frame that the true poses are relative to.
    seed
        Of everything that artefacts draw.
    psf_mm
        FWHM of the in-plane resolution; the mean in-plane voxel size if not given.
    """
    if (affine is None) == (voxel_sizes is None):
        raise ValueError("give either voxel_sizes or an affine")
    if affine is None:
        assert voxel_sizes is not None
        affine = centered_affine(shape, voxel_sizes)
    affine = np.asarray(affine, dtype=np.float64)
    head_poses = np.asarray(head_poses, dtype=np.float64)
    if not 0 <= reference < len(head_poses):
        raise ValueError(f"frame {reference} is none of the {len(head_poses)} frames")
    grid = Grid(
        (shape[0], shape[1], shape[2]), affine, default_psf(affine) if psf_mm is None else psf_mm
    )
    scene = Scene(
        head, head_poses, grid, surroundings, surroundings_poses, artefacts, repetition_time, seed
    )
    data = np.empty((len(head_poses), *grid.shape), dtype=np.float32)
    for t in range(len(head_poses)):
        data[t] = scene.frame(t)
    poses = head_poses @ np.linalg.inv(head_poses[reference])
    poses[reference] = np.eye(4)
    return SimulatedSeries(
        data=np.moveaxis(data, 0, -1),
        affine=affine,
        poses=poses,
        brain=scene.brain(reference),
        brain_points=_brain_points(head, head_poses[reference], seed),
        reference=reference,
        repetition_time=repetition_time,
        name=head.name if name is None else name,
        activation=_known_activation(scene, reference),
        scene=scene,
    )


def _brain_points(head: Anatomy, pose: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Points spread evenly at random over the brain, where it is in a pose, ``(N, 3)`` mm."""
    indices = np.argwhere(head.brain_fraction() > 0)
    if len(indices) > BRAIN_POINTS:
        chosen = np.random.default_rng([seed, 4000]).choice(
            len(indices), BRAIN_POINTS, replace=False
        )
        indices = indices[np.sort(chosen)]
    to_world = pose @ head.affine
    return indices @ to_world[:3, :3].T + to_world[:3, 3]


def _known_activation(scene: Scene, reference: int) -> KnownActivation | None:
    for part in scene.artefacts:
        if isinstance(part, Activation):
            points = object_points(scene.grid.points(), scene.head_poses[reference])
            strength = part.strength(points, scene.head).reshape(scene.grid.shape).numpy()
            regressor = part.regressor(len(scene.head_poses), scene.repetition_time)
            return KnownActivation(strength * scene.brain(reference), regressor)
    return None

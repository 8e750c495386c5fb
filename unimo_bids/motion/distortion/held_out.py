"""Frames of a series whose heads are far apart: one half makes a field, the other judges it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.deformation.epi import ShiftField, empty_field
from unimo_bids.motion.distortion.pooled import Fit, fit_field, fit_poses, foreseen, residuals
from unimo_bids.motion.distortion.undistorted import Head, head_of, level_of, steady, template_of
from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.motion.frames import Frames, PartOfFrames
from unimo_bids.motion.thresholds import DISTORTION
from unimo_bids.registration.levels import Level
from unimo_bids.registration.target import Target
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid, Window
from unimo_bids.spatial.region import Region

POINTS = 4096  # of a template; twice as many change fields by hundredths of a millimetre
STEPS, POSE_STEPS = 2, 2  # of a field from none, and of poses under one
GHOST = -1  # no axis: what the frame itself explains, half of the field of view away
_FARTHER = 20.0  # mm that distortion may carry signal, and what splines need besides


@dataclass(frozen=True, eq=False)
class Ground:
    """Frames of a series that serve, where the head is in them, and how they are read.

    Only the window of the grid that the head reaches, and a little more, is read; the region and
    the template are on the whole grid.
    """

    frames: PartOfFrames
    window: Window
    chosen: NDArray[np.int_]
    poses: Tensor
    region: Region
    head: Head
    template: Tensor
    level: Level
    _read: dict[int, Tensor] = field(default_factory=dict)

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

    @cached_property
    def look(self) -> Seen:
        """The first of the frames apart."""
        return self._steadily(self.read(self.apart[: DISTORTION.looked_at]))

    @cached_property
    def judges(self) -> Seen:
        """All frames apart."""
        more = self.apart[DISTORTION.looked_at :]
        if not more:
            return self.look
        return self._steadily(torch.cat([self.look.sampled, self.read(more)]))

    def ghosts(self, axis: int) -> Tensor:
        """Of all frames apart, as if phase were encoded along an axis, as `Level.sampled`."""
        frames = self.frames.ghosts(self.chosen[self.apart].tolist(), axis)
        return self.level.sampled(frames)

    def read(self, which: Sequence[int]) -> Tensor:
        """Some of the chosen frames, by their places among these, as `Level.sampled`."""
        new = [one for one in which if one not in self._read]
        for some in self.frames.chunks(new):
            sampled = self.level.sampled(self.frames(self.chosen[list(some)].tolist()))
            self._read.update(zip(some, sampled, strict=True))
        return torch.stack([self._read[one] for one in which])

    def _steadily(self, sampled: Tensor) -> Seen:
        """Frames apart, looked at where they are nearly alike already.

        Where they are not, signal folds, or what moves meets what stays: a few such places of real
        fetal heads took poses along that were 0.2 mm off before, and the field with them.
        """
        poses = self.poses[self.apart[: len(sampled)]]
        none = empty_field(self.frames.grid, 0, *self.box, self.region.radius)
        region = steady(sampled, poses, none, self.region, self.level)
        return Seen(sampled, poses, head_of(region, self.template, POINTS), self.level)


def find_ground(
    series: Any,
    affine: NDArray[np.float64],
    motion: MotionEstimate,
    good: NDArray[np.int_],
    chosen: NDArray[np.int_],
) -> Ground:
    """Frames ``chosen`` of those that are ``good``, and the part of the grid that heads reach."""
    frames = Frames(series, affine, torch.device("cpu"))
    scale = float(np.quantile(motion.template[motion.mask > 0.5], 0.98))
    frames.scale = scale if scale > 0 else 1.0
    region, poses = _region(frames, motion), torch.as_tensor(motion.poses)
    template = torch.from_numpy(motion.template).float()
    head = head_of(region, template, POINTS)
    window = _reached(frames.grid, _box(frames.grid, head.region, poses[good]))
    part = PartOfFrames(frames, window)
    level = level_of(part.grid)
    return Ground(part, window, chosen, poses[chosen], region, head, template, level)


@dataclass(frozen=True, eq=False)
class Seen:
    """Frames ``(B, X, Y, Z)``, where the head is in them ``(B, 4, 4)``, and how they are read."""

    sampled: Tensor
    poses: Tensor
    head: Head
    level: Level
    _templates: dict[int, Target] = field(default_factory=dict)

    def foreseen(self, empty: Mapping[int, ShiftField], ghosts: Tensor | None) -> dict[int, Tensor]:
        """How much less a first step of each half leaves in the other, log, along each axis.

        And, by the key `GHOST`, how much less so much of ``ghosts``, as `sampled`.
        """
        fields, less = list(empty.values()), []
        for part in range(2):
            making, target = slice(part, None, 2), self._template(part, fields[0])
            rest = (fields, target, self.level, making, ghosts)
            less.append(foreseen(self.sampled, self.poses, *rest).double())
        keys = [*empty, *([] if ghosts is None else [GHOST])]
        return dict(zip(keys, torch.cat(less, dim=1), strict=True))

    def left(self, empty: ShiftField, steps: int) -> tuple[ShiftField, Tensor, Tensor]:
        """Log of what is left in each frame if the other half made field and template.

        Before it the field that the first half made, and the poses of all frames under that.
        """
        fits, left, under = [], [], self.poses.clone()
        for part in range(2):
            making, judging = slice(part, None, 2), slice(1 - part, None, 2)
            frames, poses = self.sampled[making], self.poses[making]
            how, first = (self.head, self.level), self._template(part, empty)
            poses, found_field = fit_field(frames, poses, empty, *how, steps, first)
            target = template_of(frames, poses, found_field, *how) if steps else first
            fit = Fit(poses, found_field, target)
            judges = self.sampled[judging]
            found = fit_poses(fit, judges, self.poses[judging], self.level, POSE_STEPS)
            if part == 0:
                under[making], under[judging] = fit.poses, found
            fits.append(fit)
            left.append(residuals(fit, judges, found, self.level).log().double())
        return fits[0].field, under, torch.cat(left)

    def _template(self, part: int, empty: ShiftField) -> Target:
        """Of half of the frames, without a field: the same along all axes."""
        if part not in self._templates:
            frames, poses = self.sampled[part::2], self.poses[part::2]
            self._templates[part] = template_of(frames, poses, empty, self.head, self.level)
        return self._templates[part]


def _region(frames: Frames, motion: MotionEstimate) -> Region:
    weights, center = torch.from_numpy(motion.weights), torch.from_numpy(motion.center)
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

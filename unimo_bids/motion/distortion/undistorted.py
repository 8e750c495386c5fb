"""A head in frames that move under a field: how they are read, their mean, where they are alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import max_pool3d

from unimo_bids.deformation.epi import ShiftField
from unimo_bids.motion.settings import MotionSettings
from unimo_bids.motion.template import robust_mean, steadiness
from unimo_bids.registration.levels import Level, make_level
from unimo_bids.registration.target import LEAST_WEIGHT, Target, make_target
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.interpolation import sample_linear
from unimo_bids.spatial.region import Region

_RIM = 3  # voxels around the head, for the derivatives of its template


@dataclass(frozen=True, eq=False)
class Head:
    """What of the template counts.

    Attributes
    ----------
    region
        The head, in the part of the grid that holds it.
        Its weights are 0 but at the points that are looked at.
    level
        The resolution of that part.
    places
        Those points, ``(N, 3)`` RAS mm.
    """

    region: Region
    level: Level
    places: Tensor

    @cached_property
    def near(self) -> Tensor:
        """Voxels, flat, that gradients at the points need: three to either side along each axis."""
        weights = self.region.weights[None, None]
        reached = []
        for axis in range(3):
            arm = [7 if one == axis else 1 for one in range(3)]
            reached.append(max_pool3d(weights, arm, stride=1, padding=[n // 2 for n in arm]))
        return torch.stack(reached).amax(dim=0).flatten() > 0


def head_of(region: Region, template: Tensor, points: int) -> Head:
    """What of a head is looked at: points with most information, the same throughout.

    Parameters
    ----------
    template
        ``(X, Y, Z)`` mean of the frames, as they are known before.
    points
        At most so many.
    """
    window = region.window(_RIM)
    part = region.part(window)
    level = level_of(part.grid)
    target = make_target(
        [level.image(template[window])[None]],
        part.weights,
        level,
        center=part.center,
        radius=part.radius,
        max_points=points,
    )
    places = target.points.double() + target.center
    x, y, z = rigid.transform(part.grid.to_index, places).round().long().mT
    weights = torch.zeros_like(part.weights)
    weights[x, y, z] = part.weights[x, y, z]
    return Head(replace(part, weights=weights), level, places)


def level_of(grid: Grid) -> Level:
    """The resolution at which frames are read."""
    return make_level(grid, blur=MotionSettings().fine_blur * grid.widest, cubic=True)


@dataclass(frozen=True, eq=False)
class Reading:
    """A frame at N points of the template: where it shows them ``(N, 3)``, and what it shows.

    ``values`` are without squeezing, ``slope`` is ``∂d/∂a``, all ``(N,)``.
    """

    indices: Tensor
    view: Tensor
    values: Tensor
    slope: Tensor


def read(level: Level, sampled: Tensor, pose: Tensor, field: ShiftField, points: Tensor) -> Reading:
    """Read a frame, ``(X, Y, Z)`` from `Level.sampled`, at points ``(N, 3)`` of the template."""
    indices = rigid.transform(level.grid.to_index @ pose, points.double()).float()
    if field.is_none:
        values = level.sample(sampled[None, None], indices[None])[0, 0]
        return Reading(indices, level.validity(indices), values, torch.zeros_like(values))
    shift = sample_linear(field.seen[None, None], indices[None])[0, 0]
    indices[:, field.axis] += shift / float(field.grid.sizes[field.axis])
    density = sample_linear(field.density[None, None], indices[None])[0, 0]
    values = level.sample(sampled[None, None], indices[None])[0, 0]
    return Reading(indices, level.validity(indices), values / density, density - 1)


def template_of(
    sampled: Tensor, poses: Tensor, field: ShiftField, head: Head, level: Level
) -> Target:
    """The mean of frames ``(B, X, Y, Z)`` without motion and distortion, as a target."""
    region = head.region
    near = head.near
    points = region.grid.points()[near]
    inside = region.weights.flatten()[near] > 0.5
    mean = torch.zeros(len(near))
    images = _undistorted(sampled, poses, field, points, inside, level)
    mean[near] = robust_mean(images[..., None, None])[:, 0, 0]
    return make_target(
        [mean.reshape(1, *region.grid.shape)],
        region.weights,
        head.level,
        center=region.center,
        radius=region.radius,
        model="bias",
        max_points=len(head.places),
    )


def _undistorted(
    sampled: Tensor, poses: Tensor, field: ShiftField, points: Tensor, inside: Tensor, level: Level
) -> Tensor:
    """Frames ``(B, X, Y, Z)`` without motion and distortion at points, ``(B, N)``.

    All have the intensity of the first ``inside``, ``(N,)``; NaN where they did not see a point.
    """
    images: list[Tensor] = []
    for frame, pose in zip(sampled, poses, strict=True):
        found = read(level, frame, pose, field, points)
        image = torch.where(found.view > 0.5, found.values, torch.nan)
        if images:
            both = inside & torch.isfinite(image) & torch.isfinite(images[0])
            here, there = image[both], images[0][both]
            gain = there.std() / here.std().clamp(min=1e-12)
            image = (image - here.mean()) * gain + there.mean()
        images.append(image)
    return torch.stack(images)


def steady(
    sampled: Tensor, poses: Tensor, field: ShiftField, region: Region, level: Level
) -> Region:
    """A head without the places where a field does not make frames ``(B, X, Y, Z)`` alike.

    Near air signal folds, and fields are sharper than any cosine that is looked for: such places
    would draw field and poses everywhere else.
    """
    window = region.window(_RIM)
    part = region.part(window)
    inside = part.weights.flatten() > 0.5
    head = (part.weights[None, None] > LEAST_WEIGHT).float()
    # and what the blur of the variance takes in around it
    near = max_pool3d(head, 5, stride=1, padding=2).flatten() > 0
    images = torch.full((len(poses), len(near)), torch.nan)
    points = part.grid.points()[near]
    images[:, near] = _undistorted(sampled, poses, field, points, inside[near], level)
    images = images.reshape(-1, *part.grid.shape)
    weights = region.weights.clone()
    weights[window] *= steadiness(images, robust_mean(images), part.weights)
    return replace(region, weights=weights)

"""One distortion field for a whole series, found together with the poses that it bends.

Frames are read where field and pose show the points z of a template, without the squeezing::

    m(y) / (1 + d'(y)) ≈ Σₖ bₖ φₖ(z),     y = D⁻¹(T z)

The template is the mean of the frames so read, and changes with the field: what a field does to all
frames alike, no frame can tell. Gauss–Newton for the field's coefficients therefore takes what they
change in a frame less the mean of that over the frames; poses and intensities, a set for every
frame, are eliminated. How large the field is expected to be follows from the data (evidence, MacKay
1992).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import max_pool3d

from unimo_bids.deformation.epi import ShiftField
from unimo_bids.motion.settings import MotionSettings
from unimo_bids.motion.template import robust_mean, steadiness
from unimo_bids.registration.intensity import CAUCHY, gains, modelled
from unimo_bids.registration.least_squares import robust_scale
from unimo_bids.registration.levels import Level, make_level
from unimo_bids.registration.target import LEAST_WEIGHT, Target, make_target
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.interpolation import sample_linear
from unimo_bids.spatial.region import Region

_RIM = 3  # voxels around the head, for the derivatives of its template
_STILL = 2e-3  # mm: a pose that moves by less at the head's surface is found
_SIZE = 2.0  # mm, of a field before anything is known of it
_MOST = 0.9  # of the squares that are left, that a step is believed to explain
_ROUNDS_OF_EVIDENCE = 3  # it changes little after two


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


@dataclass(frozen=True, eq=False)
class Fit:
    """What is known after some steps: poses ``(B, 4, 4)`` template → truth, field, template."""

    poses: Tensor
    field: ShiftField
    target: Target


def fit_field(
    sampled: Tensor,
    poses: Tensor,
    field: ShiftField,
    head: Head,
    level: Level,
    steps: int,
    target: Target | None = None,
) -> tuple[Tensor, ShiftField]:
    """Find poses and field of frames ``(B, X, Y, Z)`` together, from where they are.

    Parameters
    ----------
    target
        Template under the field as it is, if it is known.
    """
    size = _SIZE
    for _ in range(steps):
        target = target or template_of(sampled, poses, field, head, level)
        points = target.points.double() + target.center
        readings = [
            read(level, frame, pose, field, points)
            for frame, pose in zip(sampled, poses, strict=True)
        ]
        changes = [_change(target, r, p, field) for r, p in zip(readings, poses, strict=True)]
        common = sum(changes[1:], start=changes[0]) / len(changes)
        many = common.shape[1]
        hessian = torch.zeros(many, many, dtype=torch.float64)
        gradient = torch.zeros(many, dtype=torch.float64)
        eliminated = []
        for reading, change in zip(readings, changes, strict=True):
            part, slope, back = _normal_equations(target, reading, change - common)
            hessian += part
            gradient += slope
            eliminated.append(back)
        step, size = _evident_step(hessian, gradient, field, size)
        coefficients = field.coefficients + step.reshape(field.coefficients.shape)
        field = replace(field, coefficients=coefficients).limited()
        small = torch.stack([back[:6, -1] + back[:6, :-1] @ step for back in eliminated])
        poses, target = _moved(poses, small, target), None
    return poses, field


def foreseen(
    sampled: Tensor,
    poses: Tensor,
    fields: Sequence[ShiftField],
    target: Target,
    level: Level,
    making: slice,
) -> Tensor:
    """How much less of frames is left, log, after one step from none towards each field.

    Frames ``making`` have made the target and make the step; the others are asked. ``(F, B)``
    """
    points = target.points.double() + target.center
    readings = [read(level, f, p, fields[0], points) for f, p in zip(sampled, poses, strict=True)]
    left = torch.stack(
        [(w * r**2).sum() for _, r, w in (_unexplained(target, one) for one in readings)]
    )
    makes = range(len(poses))[making]
    asked = [t for t in range(len(poses)) if t not in makes]
    out = []
    for field in fields:
        changes = [_change(target, r, p, field) for r, p in zip(readings, poses, strict=True)]
        first, *others = changes[making]
        common = sum(others, start=first) / (1 + len(others))
        made = [_normal_equations(target, readings[t], changes[t] - common)[:2] for t in makes]
        hessian, gradient = (torch.stack(one).sum(dim=0) for one in zip(*made, strict=True))
        step, _ = _evident_step(hessian, gradient, field, _SIZE)
        less = []
        for t in asked:
            change = (changes[t] - common) @ step.float()[:, None]
            h, g, _ = _normal_equations(target, readings[t], change)
            less.append(-(2 * g + h[0]).squeeze() / left[t])
        out.append(-0.5 * torch.log1p(-torch.stack(less).clamp(max=_MOST)))
    return torch.stack(out)


def fit_under(
    sampled: Tensor, poses: Tensor, field: ShiftField, head: Head, level: Level, steps: int
) -> Fit:
    """Find poses of frames ``(B, X, Y, Z)`` and their template, under a field that stays."""
    for _ in range(steps):
        fit = Fit(poses, field, template_of(sampled, poses, field, head, level))
        poses = fit_poses(fit, sampled, poses, level, 1)
    return Fit(poses, field, template_of(sampled, poses, field, head, level))


def fit_poses(fit: Fit, sampled: Tensor, poses: Tensor, level: Level, steps: int) -> Tensor:
    """Poses of frames ``(B, X, Y, Z)`` under a field and to a template that stay.

    Parameters
    ----------
    steps
        At most, of each.
    """
    target = fit.target
    points = target.points.double() + target.center
    nothing = torch.zeros(len(points), 0)
    found = []
    for frame, start in zip(sampled, poses, strict=True):
        pose = start
        for _ in range(steps):
            reading = read(level, frame, pose, fit.field, points)
            small = _normal_equations(target, reading, nothing)[2][:6, -1]
            pose = _moved(pose[None], small[None], target)[0]
            if float(small.norm()) < _STILL:
                break
        found.append(pose)
    return torch.stack(found)


def residuals(fit: Fit, sampled: Tensor, poses: Tensor, level: Level) -> Tensor:
    """Robust standard deviation of what frames show beyond the template, ``(B,)``.

    Relative to what the head's structure makes of it.
    """
    target = fit.target
    points = target.points.double() + target.center
    left = []
    for frame, pose in zip(sampled, poses, strict=True):
        reading = read(level, frame, pose, fit.field, points)
        view = (reading.view * target.weights)[None]
        coefficients, residual = modelled(target.channels[0], view, reading.values[None])
        left.append(robust_scale(residual, view)[0] / coefficients[0, 0].abs())
    return torch.stack(left)


def _normal_equations(
    target: Target, reading: Reading, change: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One frame's part of the field's equations, its motion and intensities eliminated.

    The third result gives these back: ``(6 + terms, K + 1)``, motion first; the last column is what
    they are if the field stays, the others what they change with each coefficient.
    """
    channel = target.channels[0]
    gain, r, w = _unexplained(target, reading)
    root = w.sqrt()
    own = torch.cat([(channel.steepest[0] * gain).mT, channel.terms.mT], dim=1) * root[:, None]
    h = (own.mT @ own).double()
    h += torch.diag(1e-9 * h.diagonal() + 1e-30)  # rounding, where a term is no term
    change, r = change * (gain * root)[:, None], r * root
    rhs = torch.cat([own.mT @ change, (own.mT @ r)[:, None]], dim=1).double()
    back = torch.linalg.solve(h, rhs)
    hessian = (change.mT @ change).double() - rhs[:, :-1].mT @ back[:, :-1]
    gradient = (change.mT @ r).double() - rhs[:, :-1].mT @ back[:, -1]
    return hessian, gradient, back


def _unexplained(target: Target, reading: Reading) -> tuple[Tensor, Tensor, Tensor]:
    """Gain of the template in a frame, what is left of that, and its weight, ``(N,)`` each."""
    channel = target.channels[0]
    view = (reading.view * target.weights)[None]
    coefficients, residual = modelled(channel, view, reading.values[None])
    sigma = robust_scale(residual, view)[0]
    r = residual[0]
    w = view[0] / (1 + (r / (CAUCHY * sigma)) ** 2) / (sigma**2 * target.correlated)
    return gains(channel, coefficients)[0][0], r, w


def _change(target: Target, reading: Reading, pose: Tensor, field: ShiftField) -> Tensor:
    """What each coefficient changes in a frame at the points, for gain 1, ``(N, K)``."""
    a = pose[:3, :3].mT @ field.direction  # in the template's space
    channel = target.channels[0]
    steepness = channel.steepest[0][3:].mT @ a.float()
    squeezed = -1 / (1 + reading.slope)
    return field.changed(reading.indices, steepness * squeezed, channel.terms[0] * squeezed)


def _evident_step(
    hessian: Tensor, gradient: Tensor, field: ShiftField, size: float
) -> tuple[Tensor, float]:
    """Step of the coefficients, ``(K,)``, and how large they are expected to be, mm."""
    now, usual = field.coefficients.flatten(), field.roughness.flatten()
    step = torch.zeros_like(now)
    for _ in range(_ROUNDS_OF_EVIDENCE):
        precision = usual / size**2
        inverse = torch.linalg.inv(hessian + torch.diag(precision))
        step = inverse @ (-gradient - precision * now)
        determined = len(now) - float((precision * inverse.diagonal()).sum())
        squares = float((usual * (now + step) ** 2).sum())
        size = max(math.sqrt(squares / max(determined, 1.0)), 1e-3)
    return step, size


def _moved(poses: Tensor, small: Tensor, target: Target) -> Tensor:
    """Poses after small motions ``(B, 6)``, as in `gauss_newton`, were taken back."""
    back = rigid.from_parameters(-small[:, :3] / target.radius, -small[:, 3:], target.center)
    return rigid.orthonormalized(poses @ back)

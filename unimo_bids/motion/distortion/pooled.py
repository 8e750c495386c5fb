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

import torch
from torch import Tensor

from unimo_bids.deformation.epi import ShiftField, part_of
from unimo_bids.motion.distortion.undistorted import Head, Reading, read, template_of
from unimo_bids.registration.intensity import CAUCHY, gains, modelled
from unimo_bids.registration.least_squares import robust_scale
from unimo_bids.registration.levels import Level
from unimo_bids.registration.target import Target
from unimo_bids.spatial import rigid

_STILL = 2e-3  # mm: a pose that moves by less at the head's surface is found
_MOVED = 0.05  # mm at the head's surface, from which poses that moved make another template
_SIZE = 2.0  # mm, of a field before anything is known of it
_MOST = 0.9  # of the squares that are left, that a step is believed to explain
_ROUNDS_OF_EVIDENCE = 3  # it changes little after two


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
    worth: float = 0.0,
) -> tuple[Tensor, ShiftField]:
    """Find poses and field of frames ``(B, X, Y, Z)`` together, from where they are.

    Parameters
    ----------
    steps
        At most.
    target
        Template under the field as it is, if it is known.
    worth
        Of what is left, log, that a step has to explain; with less it is the last.
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
        alike = len(poses) * len(points) / target.correlated  # places that tell of their own
        poses, target = _moved(poses, small, target), None
        if -float(gradient @ step) / 2 < worth * alike:
            break
    return poses, field


def foreseen(
    sampled: Tensor,
    poses: Tensor,
    fields: Sequence[ShiftField],
    target: Target,
    level: Level,
    making: slice,
    ghosts: Tensor | None,
) -> Tensor:
    """How much less of frames is left, log, after one step from none towards each field.

    Frames ``making`` have made the target and make the step; the others are asked. Where there are
    ``ghosts``, as `sampled`, the last is of so much of them. ``(F, B)``
    """
    points = target.points.double() + target.center
    none = fields[0]
    readings = [read(level, f, p, none, points) for f, p in zip(sampled, poses, strict=True)]
    left = torch.stack(
        [(w * r**2).sum() for _, r, w in (_unexplained(target, one) for one in readings)]
    )
    makes = range(len(poses))[making]
    asked = [t for t in range(len(poses)) if t not in makes]

    def explained(changes: list[Tensor], field: ShiftField) -> Tensor:
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
        return -0.5 * torch.log1p(-torch.stack(less).clamp(max=_MOST))

    out = []
    for field in fields:
        changes = [_change(target, r, p, field) for r, p in zip(readings, poses, strict=True)]
        out.append(explained(changes, field))
    if ghosts is not None:
        pairs = zip(ghosts, poses, strict=True)
        changes = [read(level, ghost, p, none, points).values[:, None] for ghost, p in pairs]
        out.append(explained(changes, part_of(none, 0.0)))
    return torch.stack(out)


def fit_under(
    sampled: Tensor, poses: Tensor, field: ShiftField, head: Head, level: Level, steps: int
) -> Fit:
    """Poses of frames ``(B, X, Y, Z)`` and their template under a field that stays.

    Until poses stay, in so many steps at most.
    """
    for _ in range(steps):
        fit = Fit(poses, field, template_of(sampled, poses, field, head, level))
        before, poses = poses, fit_poses(fit, sampled, poses, level, 1)
        moved = rigid.displacement(before, poses, head.region.surface()).mean(dim=-1)
        if float(moved.max()) < _MOVED:
            break
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

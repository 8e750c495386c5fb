"""Ghosts: a frame shows itself again, faintly, half of its field of view away.

Lines of k-space that go to and fro disagree a little. Along the phase-encode axis a place y of
frame t shows a share a of what is at y', half of the field of view away::

    I_t(y) = s_t(y) + a_t(y) s_t(y'),     a_t(y) = α_t + Σₖ cₖ φₖ(y)

Both are complex, so a has either sign; the φ are smooth waves that stay with the scanner, and a
share that every other slice has more of. What surrounds a fetus rests, and is so seen in its head.
At the frames' poses, what the ghosts explain beside the template, less what they do on average (the
template has that), tells c by least squares, poses and intensities eliminated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.artefacts.middle import Fitted
from unimo_bids.motion.artefacts.stripes import seen_as
from unimo_bids.motion.frames import Unghosted, half_away
from unimo_bids.motion.refinement import Refined, refine_to_template
from unimo_bids.motion.scan import Scan
from unimo_bids.motion.thresholds import GHOSTS, QUALITY
from unimo_bids.motion.tracking import Track
from unimo_bids.registration.intensity import CAUCHY, gains, modelled
from unimo_bids.registration.least_squares import robust_scale
from unimo_bids.registration.target import Target
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import voxel_centers

_POINTS = 4096  # of the template; coarsely, half of them
_FRAMES = 12  # that tell what ghosts of all have in common
_COARSE, _FINE = 2, 5  # half waves, of all axes together; with more, chance explains as much
_BOX = 4.0  # radii of the head, that a half wave is long
_ROUNDS = 2  # each with a template that holds less of them; a third changes little
_MOST = 0.9  # of the squares that are left, that ghosts are believed to explain
_TOLD = (
    "Frames show themselves again, half of the field of view away along {}: a ghost of {:.0f} % of "
    "the brightness (root mean square over the head). Frames were registered without it; the "
    "corrected series keeps it."
)


def unghosted(scan: Scan, track: Track, fitted: Fitted) -> tuple[Scan, Fitted, tuple[str, ...]]:
    """The scan without ghosts, and poses; what was found.

    Parameters
    ----------
    scan, track, fitted
        What `refine_to_template` was given, and what it made of that.
    """
    axis = haunted(scan, fitted)
    if axis is None:
        return scan, fitted, ()
    one, found, grid = scan, fitted, scan.frames.grid
    waves = _Waves.of(scan, _FINE)
    strength, own = torch.zeros(len(waves.orders) + 1), torch.zeros(scan.frames.count)
    usable, explained = np.flatnonzero(scan.usable), _explained(scan, fitted[1])
    for _ in range(_ROUNDS):
        poses = found[1].poses
        read = _Reader.of(one, found[2])
        seen = [read(t, poses[t], (axis,))[0] for t in _some(explained)]
        step, mean = _strength(seen), _mean(seen)
        for t in usable.tolist():
            own[t] += read(t, poses[t], (axis,))[0].own(step, mean @ step)
        strength += step.cpu()
        slices = voxel_centers(grid.shape).reshape(grid.shape[0], -1, 3)
        shares = torch.stack([waves(one) @ strength for one in slices]).reshape(grid.shape)
        one = seen_as(scan, Unghosted(scan.frames, axis, shares, own))
        found = refine_to_template(one, replace(track, poses=poses))
    before, after = (1 - each[1].similarity[explained] ** 2 for each in (fitted, found))
    if np.mean(after < (1 - GHOSTS.worth) * before) <= 0.5:  # in the median frame
        return scan, fitted, ()
    inside = shares[scan.head.weights.cpu() > 0.5]
    more = own[usable.tolist()]  # mean of (inside + more)², over places and frames
    mean_square = inside.square().mean() + 2 * inside.mean() * more.mean() + more.square().mean()
    size = float(mean_square.sqrt())
    return one, found, (_TOLD.format("ijk"[axis], 100 * size),)


def haunted(scan: Scan, fitted: Fitted) -> int | None:
    """The axis along which there are ghosts, if there are any: a coarse look, then a finer one."""
    poses, template = fitted[1].poses, fitted[2]
    axes = [axis for axis in range(3) if axis != scan.frames.slice_axis]
    some = _some(_explained(scan, fitted[1]))
    if not some:
        return None
    read = _Reader.of(scan, template, coarse=True)
    seen = zip(*(read(t, poses[t], axes) for t in some), strict=True)
    less = [_foretold(one) for one in seen]
    first = int(np.argmax(less))
    if not less[first] >= GHOSTS.promising:
        return None
    axis, read = axes[first], _Reader.of(scan, template)
    sure = _foretold([read(t, poses[t], (axis,))[0] for t in some])
    return axis if sure > GHOSTS.sure else None


def _explained(scan: Scan, refined: Refined) -> NDArray[np.int_]:
    """Frames that show the head: what a ghost explains of others says nothing."""
    similarity = np.nan_to_num(refined.similarity)
    return np.flatnonzero(scan.usable & (similarity >= QUALITY.never_failed))


def _some(frames: NDArray[np.int_]) -> list[int]:
    """Of frames, some from the whole series."""
    picked = np.linspace(0, len(frames) - 1, min(len(frames), _FRAMES))
    return [int(t) for t in frames[picked.astype(int)]]


@dataclass(frozen=True)
class _Waves:
    """Waves that stay with the scanner, in a box around the head, at indices of the grid.

    Attributes
    ----------
    phase
        ``(3, 4)`` of places, from their indices: from 0 to π through the box.
    orders
        ``(K - 1, 3)`` half waves.
    """

    phase: Tensor
    orders: Tensor
    slice_axis: int

    @classmethod
    def of(cls, scan: Scan, most: int) -> _Waves:
        """Up to so many half waves."""
        length = _BOX * scan.head.radius
        phase = scan.frames.grid.affine[:3].clone()
        phase[:, 3] += length / 2 - scan.head.center.cpu()
        orders = [one for one in product(range(most + 1), repeat=3) if sum(one) <= most]
        return cls(torch.pi / length * phase, torch.tensor(orders), scan.frames.slice_axis)

    def __call__(self, indices: Tensor) -> Tensor:
        """At indices ``(N, 3)``, ``(N, K)``; the last alternates from slice to slice."""
        phase = self.phase.to(indices)
        places = indices @ phase[:, :3].mT + phase[:, 3]
        most = torch.arange(int(self.orders.max()) + 1, device=indices.device)
        along = torch.cos(places[..., None] * most).float()
        i, j, k = self.orders.T
        waves = along[:, 0, i] * along[:, 1, j] * along[:, 2, k]
        alternating = torch.cos(torch.pi * indices[:, self.slice_axis, None]).float()
        return torch.cat([waves, alternating], dim=1)


@dataclass(frozen=True, eq=False)
class _Shown:
    """What a frame shows at the points of a target, beside that.

    Attributes
    ----------
    left
        ``(N,)`` what pose and intensities do not explain, for variance 1.
    root
        ``(N,)`` root of the weights.
    model
        ``(N, M)`` orthonormal: what pose and intensities can explain.
    ghost
        ``(N,)`` what is half of the field of view away.
    ghosts
        ``(N, K)`` so much of it as each wave has.
    """

    left: Tensor
    root: Tensor
    model: Tensor
    ghost: Tensor
    ghosts: Tensor

    def beside(self, changes: Tensor) -> Tensor:
        """Changes ``(N, K)`` for variance 1, as far as pose and intensities do not explain them."""
        weighted = changes * self.root[:, None]
        return weighted - self.model @ (self.model.mT @ weighted)

    def own(self, strength: Tensor, common: Tensor) -> float:
        """Share that the frame has more of than others, whose mean ``(N,)`` the template has."""
        known = self.beside((self.ghosts @ strength - common)[:, None])[:, 0]
        ghost = self.beside(self.ghost[:, None])[:, 0]
        return float(ghost @ (self.left - known) / (ghost @ ghost + 1 / GHOSTS.usual**2))


@dataclass(frozen=True, eq=False)
class _Reader:
    """Reads frames where poses show the points of a target."""

    scan: Scan
    target: Target
    waves: _Waves
    coarse: bool

    @classmethod
    def of(cls, scan: Scan, template: Tensor, coarse: bool = False) -> _Reader:
        """Of a template ``(1, X, Y, Z)``, at full resolution or from the coarse copies."""
        level, most = (scan.coarse.level, _COARSE) if coarse else (scan.fine, _FINE)
        target = scan.target(template, level, _POINTS // (2 if coarse else 1), "bias")
        return cls(scan, target, _Waves.of(scan, most), coarse)

    def __call__(self, t: int, pose: Tensor, axes: Sequence[int]) -> list[_Shown]:
        """Frame t, at its pose, with its ghosts along some axes."""
        target, channel = self.target, self.target.channels[0]
        to_index = self.scan.frames.grid.to_index.to(pose) @ pose
        index = rigid.transform(to_index, target.points.double() + target.center)
        here, *ghosts = self._values(t, index, axes)
        view = (target.level.validity(self._at(index)) * target.weights)[None]
        coefficients, residual = modelled(channel, view, here[None])
        sigma = robust_scale(residual, view)[0]
        weights = view[0] / (1 + (residual[0] / (CAUCHY * sigma)) ** 2)
        root = (weights / (sigma**2 * target.correlated)).sqrt()
        gain = gains(channel, coefficients)[0][0]
        explained = torch.cat([channel.steepest[0] * gain, channel.terms]) * root
        model = torch.linalg.qr(explained.mT).Q
        left = residual[0] * root
        left = left - model @ (model.mT @ left)
        waves = self.waves(index)
        return [_Shown(left, root, model, one, one[:, None] * waves) for one in ghosts]

    def _values(self, t: int, index: Tensor, axes: Sequence[int]) -> Tensor:
        """What frame t shows at indices ``(N, 3)``, and away along each axis, ``(1 + A, N)``."""
        level = self.target.level
        if not self.coarse:
            (frame,) = self.scan.frames([t])
            shown = torch.stack([frame, *(half_away(frame, axis) for axis in axes)])
            return level.sample(level.sampled(shown)[None], self._at(index)[None])[0]
        at = [index]  # the blur has mixed what is at the border with its mirror image
        for axis in axes:
            n = self.scan.frames.grid.shape[axis]
            away = index.clone()
            away[:, axis] = (away[:, axis] - n // 2) % n
            at.append(away)
        image = self.scan.coarse.images[t].float().expand(len(at), 1, -1, -1, -1)
        return level.sample(image, self._at(torch.stack(at)))[:, 0]

    def _at(self, index: Tensor) -> Tensor:
        """Indices of the target's level, from those of the grid."""
        to_level = self.target.level.grid.to_index @ self.scan.frames.grid.affine
        return rigid.transform(to_level.to(index), index).float()


def _strength(seen: Sequence[_Shown]) -> Tensor:
    """How much of each wave frames have beside what they have on average, ``(K,)``."""
    common = _mean(seen)
    precision = torch.eye(common.shape[1]).to(common).double() / GHOSTS.usual**2
    slope = torch.zeros_like(precision[0])
    for shown in seen:
        changes = shown.beside(shown.ghosts - common)
        precision += (changes.mT @ changes).double()
        slope += (changes.mT @ shown.left).double()
    return torch.linalg.solve(precision, slope).float()


def _foretold(seen: Sequence[_Shown]) -> float:
    """How much less of frames is left, log, by ghosts as every other shows them, and their own."""
    less = []
    for part in range(2):
        making, asked = seen[part::2], seen[1 - part :: 2]
        if not making:
            return 0.0
        strength, common = _strength(making), _mean(making)
        for shown in asked:
            own = shown.own(strength, common @ strength) * shown.ghost
            ghosts = (shown.ghosts - common) @ strength + own
            explained = shown.beside(ghosts[:, None])[:, 0]
            left = float((shown.left - explained).square().sum() / shown.left.square().sum())
            less.append(-0.5 * np.log(max(left, 1 - _MOST)))
    return float(np.mean(less))


def _mean(seen: Sequence[_Shown]) -> Tensor:
    first, *others = (shown.ghosts for shown in seen)
    return sum(others, start=first) / len(seen)

"""Slices that are darker or brighter than those beside them, in all frames alike.

A band of saturation, a slice that is excited twice: it stays with the scanner while the head moves
through it. Its borders are the strongest edges there are, the template holds them as well, and all
poses are drawn to rest. A head that moves shows a place y through several slices s. With the
place's own brightness p and that of the frame, c, a gain g of each slice explains what frames I
show there, all of them logarithms::

    log I_t(y) = p(y) + c_t + Σ_s B_t(y, s) g(s)

B are the weights by which a place between two slices is read. Poses that are drawn aside show a
part of the gains; without that part they are drawn less, so gains and poses are found in turn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unimo_bids.motion.artefacts.stripes import seen_as, stands_out
from unimo_bids.motion.frames import Combined, filled
from unimo_bids.motion.refinement import refine_to_template
from unimo_bids.motion.scan import Scan
from unimo_bids.motion.thresholds import BANDS, STRIPES
from unimo_bids.motion.tracking import follow_images, similarity_at
from unimo_bids.motion.ways import Way
from unimo_bids.registration.intensity import CAUCHY
from unimo_bids.registration.least_squares import robust_scale
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import voxel_centers
from unimo_bids.spatial.interpolation import sample_linear

_POINTS = 2_000  # of the head
_REWEIGHTED = 3  # times
_TOLD = (
    "The brightness of slices differs by {:.0f} % (root mean square), in all frames alike: it "
    "stays with the scanner. Frames were registered without that; the corrected series keeps it."
)


@dataclass(frozen=True)
class Unbanded:
    """A series without bands.

    Attributes
    ----------
    scan, steady
        The scan without bands, and as it is known with its template.
    way
        By one image.
    contrasts
        Whether one image cannot explain the series.
    told
        A sentence.
    """

    scan: Scan
    steady: Scan
    way: Way
    contrasts: bool
    told: str


def unbanded(scan: Scan, way: Way) -> Unbanded | None:
    """The series without bands.

    None where there are none, gains do not settle, or poses explain frames without them no better.

    Parameters
    ----------
    way
        By one image.
    """
    found = gains(scan, way.refined.poses)
    axis = stands_out([roughness(one) for one in found])
    if axis is None:
        return None
    rough = roughness(found[axis])
    one, now, log_gains = scan, way, torch.zeros_like(found[axis])
    before = torch.zeros_like(log_gains)
    for number in range(BANDS.rounds):
        log_gains = log_gains + _far_enough(found[axis], before) * found[axis]
        one = seen_as(scan, Combined(scan.frames, axis, mended(log_gains)))
        # gains that are half found, or none, are no reason to search all rotations
        _, now, _ = _followed(one, now, search=False)
        before, found = found[axis], gains(one, now.refined.poses)
        if roughness(found[axis]) < BANDS.left * rough:
            told = _TOLD.format(100 * roughness(log_gains))
            steady, now, contrasts = _followed(one, now, search=True)
            better = _better(one, now, way)
            return Unbanded(one, steady, now, contrasts, told) if better else None
        if number >= BANDS.growing and roughness(found[axis]) > roughness(before):
            return None
    return None


def _followed(scan: Scan, way: Way, *, search: bool) -> tuple[Scan, Way, bool]:
    """A scan from the poses of a way: with its template; by one image; if that does not explain."""
    track = follow_images(scan, way.images, way.refined.poses, search=search)
    steady, refined, image, contrasts = refine_to_template(scan, track)
    return steady, Way(refined, image, track), contrasts


def _better(scan: Scan, now: Way, before: Way) -> bool:
    """Whether frames without bands are explained far better by their poses now.

    Either by what is left of the median frame by either's own template, where bands whose borders
    agree count for poses that they hold; or, at either's poses, by the reference without bands.
    """
    others = scan.usable & (np.arange(scan.frames.count) != scan.reference)
    own = [way.refined.similarity for way in (before, now)]
    by_reference = [
        similarity_at(scan, poses @ rigid.inverse(poses[scan.reference]))
        for poses in (before.refined.poses, now.refined.poses)
    ]
    for old, new in (own, by_reference):
        less = (1 - new[others] ** 2) < (1 - STRIPES.worth) * (1 - old[others] ** 2)
        if np.mean(less) > 0.5:
            return True
    return False


def mended(log_gains: Tensor) -> Tensor:
    """What makes slices without gains of those with, ``(S, S)``.

    Of a slice that shows hardly more than noise, those before and after it make up one.

    Examples
    --------
    >>> mended(torch.tensor([1.0, 2.0, 0.1, 1.0]).log())
    tensor([[1.0000, 0.0000, 0.0000, 0.0000],
            [0.0000, 0.5000, 0.0000, 0.0000],
            [0.0000, 0.2500, 0.0000, 0.5000],
            [0.0000, 0.0000, 0.0000, 1.0000]])
    """
    every = log_gains.exp().clamp(1 / STRIPES.most, STRIPES.most)
    bright = np.flatnonzero((every > BANDS.dark).cpu().numpy())
    return filled(bright, len(every)).to(every) / every


def _far_enough(step: Tensor, before: Tensor) -> float:
    """How many such steps it will take, if each is as much smaller as this one (Aitken)."""
    ratio = float(step @ before / before.square().sum().clamp(min=1e-12))
    return 1 / (1 - min(max(ratio, 0.0), BANDS.slowest))


def gains(scan: Scan, poses: Tensor) -> list[Tensor]:
    """Logarithms of the gains that slices have in all frames, ``(S,)`` across each axis.

    0 where little of the head comes by.
    """
    grid, inside = scan.frames.grid, scan.head.weights.flatten() > 0.5
    places = voxel_centers(grid.shape, scan.frames.device)[inside].double()
    places = places[:: max(1, len(places) // _POINTS)]
    points = rigid.transform(grid.affine.to(places), places)
    last = torch.tensor(grid.shape).to(points) - 1
    values, indices = [], []
    for t in scan.spread(scan.usable):
        index = rigid.transform(grid.to_index.to(points) @ poses[t].to(points), points)
        frame = scan.frames([t])
        both = torch.stack([frame, scan.frames.unseen([t], frame)], dim=1)
        read, nothing = sample_linear(both, index.float()[None])[0]
        seen = ((index >= 0) & (index <= last)).all(dim=-1) & (nothing == 0)
        values.append(torch.where(seen, read, torch.nan))
        indices.append(index.float())
    shown, index = torch.stack(values), torch.stack(indices)
    # a logarithm of what is dark is that of noise
    bright = torch.isfinite(shown).all(dim=0) & (shown.median(dim=0).values > BANDS.bright)
    logs = shown[:, bright].clamp(min=BANDS.darkest).log()
    return [_gains(logs, index[:, bright, axis], n) for axis, n in enumerate(grid.shape)]


def roughness(log_gains: Tensor) -> float:
    """Root mean square of what sets a slice's gain apart from its neighbours'.

    The outermost at either end show the head's edge, and how steep it is between their voxels.
    """
    known = torch.nonzero(log_gains)[:, 0]
    if len(known) < 5:
        return 0.0
    held = log_gains[int(known[0]) + 1 : int(known[-1])]
    apart = held[1:-1] - (held[:-2] + held[2:]) / 2
    return float(apart.square().mean().sqrt())


def _gains(logs: Tensor, index: Tensor, n: int) -> Tensor:
    """What explains logarithms ``(T, N)`` read at indices ``(T, N)`` of n slices."""
    if logs.numel() == 0 or n < 3:
        return torch.zeros(n).to(logs)
    below = index.floor().long().clamp(0, n - 2)
    part = (index - below)[..., None]
    basis = torch.zeros(*logs.shape, n).to(logs)
    basis.scatter_(2, below[..., None], 1 - part)
    basis.scatter_(2, below[..., None] + 1, part)
    reach = basis.sum(dim=(0, 1))
    known = reach > STRIPES.in_view * reach.max()
    moved, shown = _apart(basis).flatten(0, 1), _apart(logs.clone()).flatten()
    solution = torch.zeros(n).to(logs)
    for _ in range(_REWEIGHTED):
        left = shown - moved @ solution
        sigma = robust_scale(left[None], torch.ones_like(left)[None])
        weighted = moved / (1 + (left / (CAUCHY * sigma)) ** 2)[:, None]
        # as of a single frame: what moved hardly, or no more than poses are off, tells nothing
        little = (sigma / BANDS.usual) ** 2 + 2 * len(logs) * BANDS.off**2
        expected = torch.eye(n).to(logs) * little * logs.shape[1] / n
        gram, right = weighted.mT @ moved + expected, weighted.mT @ shown
        solution = torch.linalg.solve(gram.double(), right.double()).to(logs)
    return torch.where(known, solution - solution[known].median(), 0.0)


def _apart(values: Tensor) -> Tensor:
    """Values ``(T, N, ...)`` less what a place shows in all frames, and a frame in all places.

    In place: weights of all places, frames and slices are the peak of a short run's memory.
    """
    values -= values.mean(dim=0, keepdim=True)
    values -= values.mean(dim=1, keepdim=True)
    return values

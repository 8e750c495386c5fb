"""Slices that are darker or brighter than those beside them, in every frame others.

Motion leaves them so by spin history. Registration takes a stripe for structure, and draws the head
along the slices' axis. The mean of many frames has no stripes: what a frame I shows of slice s over
what the mean P shows there, at the frame's pose, is the slice's gain::

    g(s) = Σ w I P / Σ w P²

A pose that is a little off changes gains too, but smoothly from slice to slice. Where they are
rough, and two halves of the voxels say the same, there are stripes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.frames import Destriped, Frames
from unimo_bids.motion.refinement import refine_to_template
from unimo_bids.motion.scan import CoarseFrames, Scan
from unimo_bids.motion.thresholds import BANDS, STRIPES
from unimo_bids.motion.tracking import follow_images
from unimo_bids.motion.ways import Way
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid, Window
from unimo_bids.spatial.resampling import resample
from unimo_bids.spatial.warp import Rigid

_LOOKED_AT = 8  # frames, before all
_MEDIAN_SQUARE = 0.455  # of what is normally distributed, relative to the mean square
_BRIGHT = 0.75  # quantile over frames: where up to half of a slice's are dim, others are seen
_ROUNDS = 3  # each with a template that holds less of them


@dataclass(frozen=True, eq=False)
class Stripes:
    """Gains ``(T, S)`` of the slices along an axis of the grid, and how rough they are.

    `rough` is the root mean square of what sets a slice's gain apart from its neighbours', as far
    as most slices of a frame show.
    """

    axis: int
    gains: NDArray[np.float32]
    rough: float

    @property
    def own(self) -> bool:
        """Whether frames have them each for itself, and little in common."""
        logs = np.log(self.gains)
        apart = logs[:, 1:-1] - (logs[:, :-2] + logs[:, 2:]) / 2
        apart = apart[apart.any(axis=1)]
        return bool(np.square(apart.mean(axis=0)).mean() < STRIPES.shared * np.square(apart).mean())

    def __str__(self) -> str:
        return (
            f"The brightness of slices differs by {100 * self.rough:.0f} % (root mean square), "
            "differently in each frame. Frames were registered without that; the corrected series "
            "keeps it."
        )


def unstriped(scan: Scan, way: Way, first: Stripes | None) -> tuple[Scan, Way, str] | None:
    """The scan without stripes, the way by one image there, and a sentence.

    None where there are no stripes, or dividing by gains leaves frames much as they were: where
    contrast changes, gains explain a little as well.

    Parameters
    ----------
    first
        From `find_stripes`.
    """
    if first is None:
        return None
    frames, found, stripes, every = scan, way, first, np.flatnonzero(scan.usable)
    if first.own:  # they have drawn poses since tracking, and the mean is dim
        poses = way.track.poses
        bright = _bright(scan, poses)
        found = Way(replace(way.refined, poses=poses), bright[None], way.track)
        stripes = _across(scan, bright, poses, every)[first.axis]
    for number in range(_ROUNDS):
        if number > 0:  # what is left of them, however little
            stripes = _across(frames, found.images[0], found.refined.poses, every)[first.axis]
        frames = without_stripes(frames, stripes)
        # most often this is in vain; once it is not, frames that are still unexplained are searched
        track = follow_images(frames, found.images, found.refined.poses, search=number > 0)
        steady, refined, image, contrasts = refine_to_template(frames, track)
        found = Way(refined, image, track)
        before, after = (1 - one.refined.similarity[scan.usable] ** 2 for one in (way, found))
        # what has not brought half of it by now will not bring it
        asked = STRIPES.worth if number == _ROUNDS - 1 else STRIPES.worth / 2
        if np.mean(after < (1 - asked) * before) <= 0.5:  # in the median frame
            return None
    return None if contrasts else (steady, found, str(first))


def at_first_sight(scan: Scan) -> Scan | None:
    """The scan without stripes, by all frames as they lie: before anything is known of motion.

    Motion is taken for gains as well, but for smooth ones.
    """
    rest = torch.eye(4, dtype=torch.float64, device=scan.head.weights.device)
    rest = rest.expand(scan.frames.count, 4, 4)
    stripes = find_stripes(scan, _bright(scan, rest), rest)
    return None if stripes is None or not stripes.own else without_stripes(scan, stripes)


def _bright(scan: Scan, poses: Tensor) -> Tensor:
    """What frames at some poses show where they are not dim, ``(X, Y, Z)``."""
    aligned = scan.aligned(poses, scan.spread(scan.usable))
    bright = torch.nanquantile(aligned, _BRIGHT, dim=0).nan_to_num()
    return scan.placed(bright[None], scan.reference_image)[0]


def find_stripes(scan: Scan, template: Tensor, poses: Tensor) -> Stripes | None:
    """Stripes across one of the axes, if there are any.

    Parameters
    ----------
    template
        ``(X, Y, Z)`` mean of aligned frames.
    poses
        ``(T, 4, 4)``
    """
    usable = np.flatnonzero(scan.usable)
    few = usable[np.linspace(0, len(usable) - 1, min(len(usable), _LOOKED_AT)).astype(int)]
    for frames in (few, usable):
        found = _across(scan, template, poses, frames)
        axis = stands_out([one.rough for one in found])
        if axis is None:
            return None
        stripes = found[axis]
    return stripes


def stands_out(rough: Sequence[float]) -> int | None:
    """The axis across which gains are rough, far more than across the others, if there is one."""
    second, first = sorted(rough)[1:]
    return rough.index(first) if first >= max(STRIPES.rough, STRIPES.clear * second) else None


def without_stripes(scan: Scan, stripes: Stripes) -> Scan:
    """The same scan, each slice divided by its gain."""
    gains = torch.from_numpy(stripes.gains)
    return seen_as(scan, Destriped(scan.frames, stripes.axis, gains, BANDS.dark))


def seen_as(scan: Scan, frames: Frames) -> Scan:
    """The same scan, its frames seen in another way."""
    return replace(
        scan,
        frames=frames,
        reference_image=frames([scan.reference])[0],
        coarse=CoarseFrames(frames, scan.head, scan.progress),
    )


def _across(scan: Scan, template: Tensor, poses: Tensor, frames: NDArray[np.int_]) -> list[Stripes]:
    """What some of the frames show across each axis; the gains of the others are 1."""
    grid = scan.frames.grid
    seen = torch.stack([template, scan.head.weights])
    head = scan.head.part(scan.window).grid.corners()
    products = torch.zeros(2, 2, scan.frames.count, sum(grid.shape), dtype=torch.float64)
    for t in frames.tolist():
        pose = poses[t].cpu()
        window = _around(grid, rigid.transform(grid.to_index @ pose, head))
        back = Rigid(rigid.inverse(pose))
        model, weights = resample(seen, grid, back, window=window, interpolation="linear")
        whole = scan.frames([t])
        frame, shown = whole[0][window], 1 - scan.frames.unseen([t], whole)[0][window]
        weighted = weights * shown * model
        for number, image in enumerate((weighted * frame, weighted * model)):
            products[number, :, t] = _sums(image, window, grid)
    parts = products.split(list(grid.shape), dim=-1)
    return [_stripes(axis, part) for axis, part in enumerate(parts)]


def _around(grid: Grid, indices: Tensor) -> Window:
    """The part of a grid that holds some indices ``(N, 3)``; at least a voxel."""
    ends = zip(indices.amin(dim=0).tolist(), indices.amax(dim=0).tolist(), grid.shape, strict=True)
    x, y, z = (
        slice(min(max(0, math.floor(low)), n - 1), max(1, min(n, math.ceil(high) + 1)))
        for low, high, n in ends
    )
    return x, y, z


def _sums(image: Tensor, window: Window, grid: Grid) -> Tensor:
    """Sums over the planes across each axis in turn, ``(2, X + Y + Z)``: of every other voxel."""
    index = torch.meshgrid(*(torch.arange(n) for n in image.shape), indexing="ij")
    even = ((index[0] + index[1] + index[2]) % 2 == 0).to(image)
    out = torch.zeros(2, sum(grid.shape), dtype=torch.float64)
    for half, part in enumerate((image * even, image * (1 - even))):
        first = 0
        for axis, n in enumerate(grid.shape):
            place = slice(first + window[axis].start, first + window[axis].stop)
            out[half, place] = part.sum(dim=[a for a in range(3) if a != axis]).double().cpu()
            first += n
    return out


def _stripes(axis: int, products: Tensor) -> Stripes:
    """Gains from ``Σ w I P`` and ``Σ w P²`` of two halves, ``(2, 2, T, S)``."""
    along, squares = products
    both = squares.sum(dim=0)
    enough = (both > STRIPES.in_view * both.amax(dim=1, keepdim=True)) & (along > 0).all(dim=0)
    halves = torch.where(enough, along / squares.clamp(min=1e-30), 1.0).log()
    rough = 0.0
    if halves.shape[-1] > 2:
        apart = halves[..., 1:-1] - (halves[..., :-2] + halves[..., 2:]) / 2
        beside = enough[:, :-2] & enough[:, 1:-1] & enough[:, 2:]
        # the median of a frame, whose slices at a border may be dim for other reasons
        agreed = torch.where(beside, apart[0] * apart[1], torch.nan).nanmedian(dim=1).values
        rough = float((agreed.clamp(min=0) / _MEDIAN_SQUARE).nanmean().nan_to_num().sqrt())
    ratios, known = (along.sum(dim=0) / both.clamp(min=1e-30)).numpy(), enough.numpy()
    gains = np.ones(ratios.shape, dtype=np.float32)
    slices = np.arange(ratios.shape[1])
    for t in np.flatnonzero(known.any(axis=1)):
        own = ratios[t, known[t]]
        gains[t] = np.interp(slices, slices[known[t]], own / np.median(own))
    return Stripes(axis, gains.clip(1 / STRIPES.most, STRIPES.most), rough)

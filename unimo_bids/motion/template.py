"""What the frames are registered to: a still frame first, then the robust mean of many."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.frames import empty
from unimo_bids.motion.thresholds import FRAMES, REFERENCE
from unimo_bids.spatial.grid import Grid, Window
from unimo_bids.spatial.interpolation import gaussian_blur
from unimo_bids.spatial.resampling import resample
from unimo_bids.spatial.warp import Rigid

_NEAR = 1.0  # voxels, over which the variance of frames is averaged
_STRETCH = 2  # frames either side that must be still as well


def choose_reference(images: Tensor, usable: NDArray[np.bool_]) -> int:
    """The frame to start from: in a still stretch, and like most other frames.

    Among the quarter of the frames with the least change around them, the one that correlates
    best with the whole series is taken, so that few frames lie far from it. A stretch of still
    frames in an unusual pose is a worse start than one in the usual pose.

    Parameters
    ----------
    images
        ``(T, P)`` small images of all frames.
    usable
        ``(T,)`` frames that hold an image at all.
    """
    places = np.flatnonzero(usable)
    flat = images[torch.as_tensor(places, device=images.device)].double()
    if len(places) < 3:
        return int(places[0])
    flat = flat - flat.mean(dim=1, keepdim=True)
    flat = flat / torch.linalg.norm(flat, dim=1, keepdim=True).clamp(min=1e-12)
    step = (1 - (flat[1:] * flat[:-1]).sum(dim=1)).cpu().numpy()
    change = np.array([step[max(0, t - _STRETCH) : t + _STRETCH].max() for t in range(len(places))])
    still = change <= np.quantile(change, 0.25)
    others = flat[:: max(1, len(flat) // 200)]
    likeness = (flat @ others.T).median(dim=1).values.cpu().numpy()
    return int(places[np.argmax(np.where(still, likeness, -np.inf))])


def tears(frames: Tensor, axis: int) -> Tensor:
    """How much slices differ from those beside them, over those beside from each other, ``(B,)``.

    Where the head moves between two packets of slices, every other slice shows another place. Half
    the square of the step between next neighbours is what two smooth steps would make of that.
    """
    frames = frames.movedim(1 + axis, -1)[:, ::2, ::2]  # every other line of a slice tells enough
    before, here, after = frames[..., :-2], frames[..., 1:-1], frames[..., 2:]
    between = (here - (before + after) / 2).square().flatten(1).mean(dim=1)
    beside = ((after - before) / 2).square().flatten(1).mean(dim=1)
    return between / beside.clamp(min=1e-12)


def torn_frames(ratios: NDArray[np.float64], usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Frames whose slices disagree far more than those of most frames, ``(T,)``."""
    usual = ratios[usable]
    if len(usual) < REFERENCE.fewest:
        return np.zeros(len(ratios), dtype=bool)
    middle = float(np.median(usual))
    spread = 1.4826 * float(np.median(np.abs(usual - middle)))
    return np.asarray(
        ratios > middle + max(REFERENCE.torn_spreads * spread, REFERENCE.torn_share * middle)
    )


def choose_frames(
    reference: int,
    similarity: NDArray[np.float64],
    displacement: NDArray[np.float64],
    good: NDArray[np.bool_],
    wanted: int,
) -> list[int]:
    """Frames for the template: well explained, little moved, spread over the series.

    Parameters
    ----------
    similarity
        ``(T,)`` of each frame to the reference.
    displacement
        ``(T,)`` mm from the reference.
    """
    places = np.flatnonzero(good & (np.arange(len(good)) != reference))
    if len(places) <= wanted:
        return [reference, *places.tolist()]
    # the better half first; ties and near-ties in similarity go to the frame that moved less
    merit = np.argsort(np.argsort(-similarity[places])) + np.argsort(
        np.argsort(displacement[places])
    )
    better = np.sort(places[np.argsort(merit, kind="stable")[: max(wanted, len(places) // 2)]])
    spread = better[np.linspace(0, len(better) - 1, wanted).round().astype(int)]
    return [reference, *spread.tolist()]


def align(
    frames: Tensor,
    poses: Tensor,
    grid: Grid,
    weights: Tensor,
    window: Window,
    lost: Tensor | None = None,
) -> Tensor:
    """Part of frames without their motion, at the intensity of the first, ``(B, X', Y', Z')``.

    Gain and offset come from the mask. NaN where a frame did not see the place, or is exactly 0
    there, as another program's resampling leaves what it did not see.

    Parameters
    ----------
    frames
        ``(B, X, Y, Z)``; the first is the reference.
    poses
        ``(B, 4, 4)``
    weights
        ``(X', Y', Z')`` soft mask of the part.
    window
        The part, of the frames' grid.
    lost
        ``(B, X, Y, Z)`` 0 … 1, places without signal, if there are any.
    """
    inside = weights > 0.5
    aligned: list[Tensor] = []
    for row, (frame, pose) in enumerate(zip(frames, poses, strict=True)):
        moved = resample(frame, grid, Rigid(pose), outside=torch.nan, window=window)
        nothing = empty(frame[None])[0]
        if 0 < float(nothing[window][inside].mean()) < FRAMES.empty:
            near = resample(
                nothing, grid, Rigid(pose), interpolation="linear", outside=1.0, window=window
            )
            moved[near > 0.05] = torch.nan
        if lost is not None and bool(lost[row].any()):
            gone = resample(lost[row], grid, Rigid(pose), interpolation="linear", window=window)
            moved[gone > 0.05] = torch.nan
        both = inside & torch.isfinite(moved)
        if aligned:
            both &= torch.isfinite(aligned[0])
        if aligned and int(both.sum()) > 10:
            here, there = moved[both], aligned[0][both]
            # symmetric in the noise of both, unlike a regression of one on the other
            gain = there.std() / here.std().clamp(min=1e-12)
            moved = (moved - here.mean()) * gain + there.mean()
        aligned.append(moved)
    return torch.stack(aligned)


def robust_mean(aligned: Tensor) -> Tensor:
    """Mean of aligned frames without the extremes, ``(X, Y, Z)``.

    Values are sorted at each voxel and the middle half averaged: robust against a frame that is
    torn or misplaced. A voxel that too few frames have seen takes the first frame's value.
    """
    count = torch.isfinite(aligned).sum(dim=0)
    ordered = _sorted(torch.nan_to_num(aligned, nan=torch.inf))
    rank = torch.arange(len(aligned), device=aligned.device).reshape(-1, 1, 1, 1)
    middle = (rank >= count // 4) & (rank < count - count // 4)
    total = torch.where(middle, ordered, 0.0).sum(dim=0)
    mean = total / middle.sum(dim=0).clamp(min=1)
    return torch.where(count >= max(2, len(aligned) // 2), mean, torch.nan_to_num(aligned[0]))


def steadiness(aligned: Tensor, mean: Tensor, weights: Tensor) -> Tensor:
    """How far each place goes with the head, 0 … 1, ``(X, Y, Z)``.

    What lies still around a head that moves, or moves on its own, changes over aligned frames far
    more than the head does: a mask that is too wide is put right by that.

    Parameters
    ----------
    aligned
        ``(B, X, Y, Z)`` frames without their motion, NaN where they did not see the place.
    mean
        ``(X, Y, Z)`` of them.
    weights
        ``(X, Y, Z)`` soft mask.
    """
    inside = weights > 0.5
    if len(aligned) < REFERENCE.fewest or not bool(inside.any()):
        return torch.ones_like(mean)
    squares = torch.nan_to_num((aligned - mean).square(), nan=torch.inf)
    middle = torch.isfinite(aligned).sum(dim=0, keepdim=True) // 2
    # of the frames that saw the place; one that is torn says nothing of it
    typical = _sorted(squares).take_along_dim(middle.clamp(max=len(aligned) - 1), dim=0)[0]
    # a single voxel's variance of a few frames says little
    variance = gaussian_blur(torch.nan_to_num(typical, posinf=0.0), [_NEAR] * 3)
    usual = variance[inside].median().clamp(min=1e-12)
    return 1 / (1 + (variance / (REFERENCE.unsteady * usual)) ** 2)


def _sorted(images: Tensor) -> Tensor:
    """Images ``(B, ...)`` sorted along B, without NaN.

    By Batcher's merge exchange, which compares whole images, in a fixed order (Knuth, 5.2.2 M): for
    a few images ten times quicker than `torch.sort`, which sorts one place after the other.
    """
    rows = list(images)
    top = 1 << max(0, (len(rows) - 1).bit_length() - 1)
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            for i in range(len(rows) - d):
                if i & p == r:
                    low, high = rows[i], rows[i + d]
                    rows[i], rows[i + d] = torch.minimum(low, high), torch.maximum(low, high)
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2
    return torch.stack(rows)

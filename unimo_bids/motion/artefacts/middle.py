"""What does not move as the middle of the head does: a mask that is far too wide, a shifted rim.

Fat that is not suppressed lies several voxels aside along the phase-encode axis; where the head
turns by R, it goes another way, by (R - 1) d. And surroundings rest. Poses, template and weights by
all of the mask then agree with each other, and no residual tells. So the middle is registered
alone. Where it contradicts the whole, chi squared of the six parameters between them by the
middle's own covariance,

    d(t) = pose(t)⁻¹ pose_middle(t),     χ² = mean over t of dᵀ C(t)⁻¹ d,

places that are not steady at the middle's poses leave the head, if most of the contradiction leaves
with them. What stays of it is unknown of the poses.

What stays with the scanner draws poses aside, whichever part it lies in: to rest, or to where a
pattern fits itself. So the middle is believed only if it moves as much as the whole, and if its
halves agree with each other. Else the pattern is in the middle, and the whole is drawn less.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from unimo_bids.brain.head import MaskError, unfit
from unimo_bids.motion.refinement import Refined, refine, refine_to_template
from unimo_bids.motion.scan import Scan
from unimo_bids.motion.template import robust_mean
from unimo_bids.motion.thresholds import MIDDLE, QUALITY
from unimo_bids.motion.tracking import Track
from unimo_bids.registration.resolution import mixed
from unimo_bids.spatial import rigid
from unimo_bids.spatial.interpolation import gaussian_blur

_LEFT_OUT = (
    "Parts of the mask move otherwise than the middle of the head, as fat around it and what lies "
    "beside it do. They were left out with what is too near to be told from them, {:.0f} % of the "
    "mask, which moved poses by {:.2f} mm (median). Look at the mask: tSNR and all else that is "
    "told of the brain is of all of it."
)
_HELD = (
    "The middle of the head {}, as where a part without signal, or interference, stays with the "
    "scanner. Poses are those of all of it, and may be drawn aside: by how much is in their "
    "standard deviations."
)
_LESS = "moves by {:.0f} % of what all of it does"
_DIVIDED = "disagrees with itself"
_NEAR = 1.0  # voxels, over which the variance of frames is averaged
_BESIDE = np.ones((3, 3, 3), dtype=bool)
_ROUNDS = 2  # the template's middle is at first as the whole had it, and less of it may be steady

# the scan as it is known, poses, template, whether one image cannot explain the series
Fitted = tuple[Scan, Refined, Tensor, bool]


def by_middle(scan: Scan, track: Track, whole: Fitted) -> tuple[Scan, Fitted, tuple[str, ...]]:
    """The scan without places that contradict the middle of the head, and poses; what was found.

    Parameters
    ----------
    scan, track, whole
        What `refine_to_template` was given, and what it made of that.
    """
    _, refined, template, _ = whole
    explained = scan.usable & (np.nan_to_num(refined.similarity) >= QUALITY.never_failed)
    if explained.sum() < MIDDLE.fewest or mixed(scan.head):
        return scan, whole, ()
    judged = scan.spread(explained)
    try:
        middle = _middle(scan)
        for some in (judged[:: max(1, len(judged) // MIDDLE.fewest)], judged):
            among = np.isin(np.arange(len(explained)), some)
            inner = refine(middle, template, refined.poses, among, share=0.01)
            if not _apart(scan, inner, refined, some)[0] >= MIDDLE.beyond:
                return scan, whole, ()
        share = _share(scan, inner.poses[judged], refined.poses[judged])
        if share < MIDDLE.held:
            return _held(scan, whole, middle, judged, _LESS.format(100 * max(share, 0.0)))
        return _trimmed(scan, track, whole, middle, inner.poses, judged)
    except MaskError:  # too little is left, or it has no signal
        return scan, whole, ()


def _held(
    scan: Scan, whole: Fitted, middle: Scan, judged: list[int], why: str
) -> tuple[Scan, Fitted, tuple[str, ...]]:
    """All as it was; what the middle contradicts is unknown of the poses."""
    _, refined, template, _ = whole
    inner = refine(middle, template, refined.poses, scan.usable, share=0.01)
    refined.covariance += _apart(scan, inner, refined, judged)[1]
    return scan, whole, (_HELD.format(why),)


def _trimmed(
    scan: Scan, track: Track, whole: Fitted, middle: Scan, poses: Tensor, judged: list[int]
) -> tuple[Scan, Fitted, tuple[str, ...]]:
    """As `by_middle`, where the middle's poses of the frames ``judged`` contradict the whole."""
    refined, first, of_middle = whole[1], middle, middle.head.weights
    for _ in range(_ROUNDS):
        mean = robust_mean(scan.aligned(poses, judged))
        template = scan.placed(mean[None], scan.reference_image)
        inner = refine(middle, template, poses, scan.usable, share=0.01)
        poses, kept = inner.poses, torch.ones_like(of_middle)
        steady = _steady(scan.aligned(poses, judged), middle.head.weights[scan.window])
        kept[scan.window] = steady.to(kept)
        middle = _with_weights(scan, of_middle * kept)
    before, _ = _apart(scan, inner, refined, judged)
    if _divided(middle, template, poses, judged) >= max(MIDDLE.beyond, MIDDLE.divided * before):
        return _held(scan, whole, first, judged, _DIVIDED)
    trimmed = _with_weights(scan, scan.head.weights * kept)
    found = refine_to_template(trimmed, replace(track, poses=poses))
    after, squares = _apart(scan, inner, found[1], judged)
    if not after < MIDDLE.left * before:
        return scan, whole, ()
    if after >= MIDDLE.beyond:
        found[1].covariance += squares
    share = 100 * (1 - float(trimmed.head.weights.sum() / scan.head.weights.sum()))
    moved = rigid.displacement(found[1].poses, refined.poses, scan.head.surface()).mean(dim=-1)
    return trimmed, found, (_LEFT_OUT.format(share, float(moved[judged].median())),)


def _share(scan: Scan, poses: Tensor, of: Tensor) -> float:
    """How much of the motion of the head's surface by some poses ``(B, 4, 4)`` others have."""
    places = scan.head.surface().expand(len(of), -1, -1)
    part, motion = (rigid.transform(one, places) for one in (poses, of))
    motion = motion - motion.mean(dim=0)
    return float((part * motion).sum() / motion.square().sum().clamp(min=1e-12))


def _divided(middle: Scan, template: Tensor, poses: Tensor, judged: list[int]) -> float:
    """Chi squared of a middle's halves beside each other, across the axis where it is largest."""
    head, among = middle.head, np.isin(np.arange(len(poses)), judged)
    center = torch.nonzero(head.weights > 0.5).double().mean(dim=0)
    found = []
    for axis, n in enumerate(head.weights.shape):
        above = (torch.arange(n, device=center.device) > center[axis]).to(head.weights)
        above = above.reshape([n if a == axis else 1 for a in range(3)])
        one, other = (
            refine(
                replace(middle, head=replace(head, weights=head.weights * side)),
                *(template, poses, among),
                share=0.01,
            )
            for side in (above, 1 - above)
        )
        one.covariance += other.covariance
        found.append(_apart(middle, one, other, judged)[0])
    return max(found)


def _middle(scan: Scan) -> Scan:
    """The scan with the middle of the head alone."""
    head = scan.head
    mask = (head.weights > 0.5).cpu().numpy()
    depth = ndimage.distance_transform_edt(mask, sampling=head.grid.sizes.numpy())
    deep = torch.from_numpy(depth > MIDDLE.depth * head.radius)
    return _with_weights(scan, head.weights * deep.to(head.weights))


def _with_weights(scan: Scan, weights: Tensor) -> Scan:
    """The scan with less of its head; refuses what is too little to register."""
    fault = unfit((weights > 0.5).cpu().numpy(), scan.head.grid.affine.numpy())
    if fault is not None:
        raise MaskError(fault)
    return replace(scan, head=replace(scan.head, weights=weights))


def _steady(aligned: Tensor, middle: Tensor) -> Tensor:
    """Places ``(X, Y, Z)`` that vary over aligned frames as those of the middle do, 0 or 1."""
    squares = torch.nan_to_num((aligned - robust_mean(aligned)).square()).mean(dim=0)
    variance = gaussian_blur(squares, [_NEAR] * 3)  # a single voxel's says little
    steady = variance < MIDDLE.unsteady * variance[middle > 0.5].median()
    # at full resolution a place shows what is beside it, too
    return torch.from_numpy(ndimage.binary_erosion(steady.cpu(), _BESIDE, border_value=1))


def _apart(scan: Scan, inner: Refined, refined: Refined, judged: list[int]) -> tuple[float, Tensor]:
    """Chi squared of poses by the middle beside others, and d dᵀ of all frames ``(T, 6, 6)``.

    Up to a motion common to the frames that are judged.
    """
    off = rigid.inverse(refined.poses) @ inner.poses
    center = scan.head.center.to(off).expand(len(off), 3)
    d = torch.cat(rigid.to_parameters(off, center), dim=1)
    d = d - d[judged].median(dim=0).values
    scaled = torch.linalg.solve(inner.covariance[judged], d[judged][..., None])[..., 0]
    return float((d[judged] * scaled).sum(dim=-1).mean()), d[:, :, None] * d[:, None]

"""Frames of two kinds, told by their brightness: each kind followed by its own, then tied.

Diffusion weighting, another preparation or a contrast agent change brightness as a whole, so that
frames fall into two kinds before anything is known of motion. Where the reference does not explain
those of the other kind, they are followed by one of their own. The means of both kinds show the
same head with little noise: classes of the intensity of one stand for tissues, any combination of
which makes up the other. Single frames, evened, tell that worse by millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.brain.head import MaskError
from unimo_bids.motion.contrast.changing import ROUNDS, refine_tied
from unimo_bids.motion.judge import Judge, clear, gain_across
from unimo_bids.motion.reference import seen_from, small_motions
from unimo_bids.motion.refinement import refine_to_template
from unimo_bids.motion.scan import Scan
from unimo_bids.motion.template import choose_reference
from unimo_bids.motion.thresholds import GROUPS, KINDS, TRACKING
from unimo_bids.motion.tracking import Track, follow_images
from unimo_bids.motion.ways import Way
from unimo_bids.registration.contrast import tissue_images
from unimo_bids.registration.gauss_newton import register
from unimo_bids.registration.uncertainty import block_covariance
from unimo_bids.spatial import rigid
from unimo_bids.spatial.resampling import resample
from unimo_bids.spatial.warp import Rigid

_TOLD = (
    "Frames are of two kinds: {} are as bright as the reference, {} are {:.2g} times as bright. "
    "Each was registered to the mean of its kind, and these to each other."
)

Kind = NDArray[np.bool_]  # (T,) frames


@dataclass(frozen=True)
class Kinds:
    """Two kinds of frames, ``(T,)`` each, and how many times as bright the other is."""

    own: Kind
    other: Kind
    brighter: float


def kinds_of(scan: Scan) -> Kinds | None:
    """The reference's kind and the other, if a step in brightness parts them."""
    bright = scan.coarse.images.float().abs().mean(dim=(1, 2, 3)).cpu().numpy()
    level = np.log(np.maximum(bright, 1e-9))
    ordered = np.sort(level[scan.usable])
    steps = np.diff(ordered)
    if len(steps) == 0:
        return None
    above = int(steps.argmax()) + 1
    within = max(float(np.ptp(part)) for part in (ordered[:above], ordered[above:]))
    if steps.max() < max(np.log(KINDS.brighter), KINDS.apart * within):
        return None
    upper = level >= ordered[above]
    own = scan.usable & (upper == upper[scan.reference])
    other = scan.usable & ~own
    return Kinds(own, other, float(np.exp(level[other].mean() - level[own].mean())))


def by_kinds(scan: Scan, tracked: Track) -> tuple[Way, str] | None:
    """Poses of frames of two kinds, where the reference does not explain the other.

    Parameters
    ----------
    tracked
        By the reference.
    """
    kinds = kinds_of(scan)
    if kinds is None or np.median(tracked.similarity[kinds.other]) >= TRACKING.doubtful:
        return None
    own = _by_own(replace(scan, usable=kinds.own), tracked)
    tied = _tied(scan, own, kinds, tracked)
    if tied is None:
        return None
    pose, covariance, other = tied
    own.refined.take(other.refined, np.flatnonzero(kinds.other))
    own.track.searched[kinds.other] = other.track.searched[kinds.other]
    unknown = torch.zeros_like(own.refined.covariance)
    unknown[kinds.other] = GROUPS.wider**2 * covariance
    shown = resample(other.images[0], scan.frames.grid, Rigid(pose))
    way = replace(own, images=torch.cat([own.images, shown[None]]), unknown=unknown)
    if _agree_worse(scan, way.refined.poses, tracked):
        return None
    return way, _TOLD.format(kinds.own.sum(), kinds.other.sum(), kinds.brighter)


def _by_own(scan: Scan, track: Track) -> Way:
    """Frames of the reference's kind; directions and the like differ among them, too."""
    _, refined, _, _ = refine_to_template(scan, track)
    return refine_tied(
        scan, replace(track, poses=refined.poses, similarity=refined.similarity), ROUNDS[-1:]
    )


def _tied(scan: Scan, own: Way, kinds: Kinds, tracked: Track) -> tuple[Tensor, Tensor, Way] | None:
    """The pose of the other kind's reference, its covariance, and the frames of that kind.

    These are told from the reference, and so is their covariance.
    """
    frame = choose_reference(scan.coarse.images.float().flatten(1), kinds.other)
    # where frames of the reference's kind beside them have the head
    places = np.flatnonzero(kinds.own)
    near = [int(places[np.abs(places - t).argmin()]) for t in range(scan.frames.count)]
    beside = own.refined.poses[near]
    pose = beside[frame]
    starts = torch.stack([pose, tracked.poses[frame], torch.eye(4).to(pose)])
    # the second time, the mask is where the first has found the head
    for _ in range(2):
        try:
            seen = replace(seen_from(scan, frame, pose), usable=kinds.other)
        except MaskError:
            return None
        track = follow_images(seen, seen.reference_image[None], beside @ rigid.inverse(pose))
        other = _by_own(seen, track)
        there = _by_tissues(scan, own.images[0], other.images[0], starts)
        back = _by_tissues(seen, other.images[0], own.images[0], rigid.inverse(starts))
        forth = there[0] >= back[0]
        pose = there[1] if forth else rigid.inverse(back[1])
        here = small_motions(rigid.inverse(pose), seen.head.center, scan.head.center)
        covariance = there[2] if forth else here @ back[2] @ here.mT
        starts = torch.cat([starts, pose[None]])
    theirs = other.refined
    theirs.poses, theirs.covariance = theirs.poses @ pose, here @ theirs.covariance @ here.mT
    return (pose, covariance, other) if max(there[0], back[0]) >= KINDS.tied else None


def _by_tissues(
    scan: Scan, image: Tensor, other: Tensor, starts: Tensor
) -> tuple[float, Tensor, Tensor]:
    """Another image by classes of the intensity of one: similarity, pose, covariance."""
    coarse, fine, settings = scan.coarse.level, scan.fine, scan.settings
    tissues = tissue_images(image, scan.head.weights)
    target = scan.target(tissues, coarse, settings.coarse_points, "gain")
    rough = register(
        target,
        coarse.image(other[None].expand(len(starts), -1, -1, -1))[:, None],
        starts,
        tolerance=0.05,
    )
    best = rough.poses[[int(rough.score.argmax())]]
    target = scan.target(tissues, fine, settings.fine_points, "bias")
    sampled = fine.sampled(other[None])[:, None]
    found = register(target, sampled, best, level=fine, tolerance=settings.tolerance)
    covariance = block_covariance(target, sampled, found.poses, level=fine)
    return float(found.score[0]), found.poses[0], covariance[0]


def _agree_worse(scan: Scan, poses: Tensor, tracked: Track) -> bool:
    """Whether frames that the reference explains agree worse than they may across contrasts.

    The others, wherever they are, may agree on what rests there.
    """
    judge = Judge(scan.frames, scan.head, scan.usable)
    ours, theirs = (judge.agreement(one) for one in judge.read(poses, tracked.poses))
    theirs[tracked.similarity < TRACKING.unexplained] = np.nan
    return clear(*gain_across(theirs, ours))

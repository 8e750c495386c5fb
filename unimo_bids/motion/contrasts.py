"""Frames whose contrast changes: ways to find poses where no one image explains the series."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.refinement import refine
from unimo_bids.motion.scan import Scan
from unimo_bids.motion.template import robust_mean
from unimo_bids.motion.thresholds import QUALITY
from unimo_bids.motion.ties import Tying
from unimo_bids.motion.tracking import Track, follow_images, well_tracked
from unimo_bids.motion.ways import Way
from unimo_bids.registration.contrast import common_images, leading_images
from unimo_bids.registration.joint import align_jointly
from unimo_bids.spatial import rigid
from unimo_bids.words import Mode

# of tied frames: whether they are evened, and how many images beside their mean explain them at
# most. Frames that were not tied may be explained by these, and count in the next round; the last
# are of frames as they are, in which a field that stays still is a term of the model
ROUNDS = ((True, 2), (True, 2), (False, 6), (False, 6))


def ways_by_contrast(
    scan: Scan, tied: Track, rounds: Sequence[tuple[bool, int]], plain: Tensor | None = None
) -> dict[Mode, Way]:
    """Poses by images common to all contrasts, and by frames tied in pairs.

    Parameters
    ----------
    tied
        From `tie`, or from tracking that has tied frames.
    rounds
        Of `refine_tied`.
    plain
        ``(T, 4, 4)`` poses by one image, where common images start if there are any.
    """
    began = tied if plain is None else Track(plain, tied.similarity, tied.searched)
    images, followed, together = _separate_contrasts(scan, began)
    refined = refine(scan, images, followed.poses, scan.usable)
    # each on its own, frames are misled by what the images leave of them
    refined.poses[together] = followed.poses[together]
    common = Way(refined, images, followed)
    return {"common": common, "tied": refine_tied(scan, tied, rounds)}


def tie(scan: Scan, starts: Tensor) -> Track:
    """Frames tied to each other in pairs; those that are not have no similarity."""
    settings = scan.settings
    tying = Tying(
        scan.evened(),
        scan.head,
        scan.coarse.level,
        scan.fine,
        (settings.coarse_points, settings.fine_points),
        settings.tolerance,
    )
    poses, similarity = tying(scan.reference, starts, scan.usable)
    return Track(poses, similarity, np.zeros(len(similarity), dtype=bool))


def refine_tied(scan: Scan, tied: Track, rounds: Sequence[tuple[bool, int]] = ROUNDS) -> Way:
    """Poses by what tied frames have in common, found and followed in turn."""
    poses = tied.poses
    good = scan.usable & (tied.similarity > 0)
    for even, most in rounds:
        frames = scan.evened() if even else scan.frames
        chosen = scan.spread(good)
        aligned = scan.aligned(poses, chosen, frames)
        mean = robust_mean(aligned)
        more = leading_images(aligned, mean, scan.weights, min(most, len(chosen) // 3))
        around = frames([scan.reference])[0]
        images = torch.cat(
            [scan.placed(mean[None], around), scan.placed(more, torch.zeros_like(around))]
        )
        refined = refine(scan, images, poses, scan.usable, even=even)
        poses = refined.poses
        good = scan.usable & (refined.similarity >= QUALITY.never_failed)
        good[scan.reference] = True
    return Way(refined, images, Track(poses, refined.similarity, tied.searched))


def _separate_contrasts(scan: Scan, tracked: Track) -> tuple[Tensor, Track, list[int]]:
    """Images ``(J, X, Y, Z)`` of all contrasts, poses, and whose poses are as good as final."""
    # frames of rare contrast, or misplaced, are found again by the images of the others
    usual = tracked.similarity >= np.quantile(tracked.similarity[scan.usable], 0.25)
    good = well_tracked(tracked, scan.usable, scan.reference) & usual
    poses, images, _ = align_contrasts(scan, tracked.poses, good)
    again = follow_images(scan, images, poses)
    again.searched |= tracked.searched
    good = well_tracked(again, scan.usable, scan.reference)
    again.poses, images, together = align_contrasts(scan, again.poses, good)
    return images, again, together


def align_contrasts(
    scan: Scan, poses: Tensor, good: NDArray[np.bool_]
) -> tuple[Tensor, Tensor, list[int]]:
    """Align frames from the whole series: poses, the images they share, and which share."""
    chosen = scan.spread(good)
    poses = poses.clone()
    poses[scan.reference] = torch.eye(4, dtype=torch.float64)
    # look where any of the contrasts has edges
    some = torch.nan_to_num(scan.aligned(poses, chosen[:: max(1, len(chosen) // 8)]))
    some = scan.placed(some, scan.reference_image)
    joint = align_jointly(
        scan.target(some, scan.fine, scan.settings.fine_points, "gain"),
        scan.fine.sampled(scan.frames(chosen)),
        poses[chosen],
    )
    poses[chosen] = joint.poses
    poses = poses @ rigid.inverse(poses[scan.reference])
    kept = [t for t, one in zip(chosen, joint.kept.tolist(), strict=True) if one]
    # the reference shows what few others saw, even if its contrast is like no other's
    aligned = scan.aligned(poses, sorted({*kept, scan.reference}, key=chosen.index))
    mean, shared = robust_mean(aligned), aligned[-len(kept) :]
    images = common_images(shared, mean, scan.weights, joint.loadings)
    parts = scan.placed(images, torch.zeros_like(scan.reference_image))
    images = torch.cat([scan.placed(mean[None], scan.reference_image), parts])
    return poses, images, kept if joint.loadings.shape[1] else []

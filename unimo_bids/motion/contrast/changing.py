"""Frames whose contrast changes: ways to find poses where no one image explains the series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.contrast.ties import Tying
from unimo_bids.motion.judge import Judge, clear, gain_across
from unimo_bids.motion.refinement import refine
from unimo_bids.motion.scan import Scan
from unimo_bids.motion.template import robust_mean
from unimo_bids.motion.thresholds import QUALITY
from unimo_bids.motion.tracking import Track
from unimo_bids.motion.ways import Way, compared
from unimo_bids.registration.contrast import common_images, leading_images
from unimo_bids.registration.joint import align_jointly
from unimo_bids.spatial import rigid
from unimo_bids.words import Mode

# of tied frames: whether they are evened, and how many images beside their mean explain them at
# most. Frames that were not tied may be explained by these, and count in the next round; the last
# are of frames as they are, in which a field that stays still is a term of the model
ROUNDS = ((True, 2), (True, 2), (False, 6), (False, 6))


def by_contrast(
    scan: Scan, tied: Track, rounds: Sequence[tuple[bool, int]]
) -> tuple[Mode, Way, str]:
    """Poses by frames tied in pairs, or by images common to all contrasts that begin there.

    Common images are finer where they hold all contrasts, and follow what they do not hold: they
    are taken unless frames agree clearly better in pairs, and by more than they do where ties are
    drawn aside together. Receive fields would decide that, so the judge reads evened frames.
    Returns also a sentence.

    Parameters
    ----------
    tied
        From `tie`, or from tracking that has tied frames.
    rounds
        Of `refine_tied`.
    """
    in_pairs = refine_tied(scan, tied, rounds)
    poses, images, together = align_contrasts(scan, in_pairs.refined.poses, scan.usable)
    refined = refine(scan, images, poses, scan.usable)
    # each on its own, frames are misled by what the images leave of them
    refined.poses[together] = poses[together]
    judge = Judge(scan.evened(), scan.head, scan.usable)
    readings = judge.read(in_pairs.refined.poses, refined.poses)
    ours, theirs = (judge.agreement(one) for one in readings)
    gain, error = gain_across(ours, theirs)
    told = compared("tied", "common", gain, error)
    if clear(gain, error):
        return "tied", in_pairs, told
    return "common", Way(refined, images, replace(in_pairs.track, poses=poses)), told


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

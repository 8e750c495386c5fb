"""Trackers: rough poses of all frames of a scan, from which refinement starts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from unimo_bids.motion.artefacts.stripes import at_first_sight
from unimo_bids.motion.contrast.changing import refine_tied, tie
from unimo_bids.motion.contrast.kinds import kinds_of
from unimo_bids.motion.estimate import Tracking
from unimo_bids.motion.judge import Judge, clear
from unimo_bids.motion.reference import explained_better
from unimo_bids.motion.scan import Scan
from unimo_bids.motion.settings import MotionSettings
from unimo_bids.motion.spaer import track_by_attention
from unimo_bids.motion.thresholds import STRIPES, TRACKING
from unimo_bids.motion.tracking import Track, follow_images, similarity_at
from unimo_bids.motion.ways import compared

# finds a head in all frames; good to about a millimetre is good enough
Tracker = Callable[[Scan], Tracking]


def track_by_search(scan: Scan) -> Tracking:
    """From the cheapest start that explains each frame; where contrast changes, tied in pairs."""
    scan, by_image = _by_image(scan)
    usual = explained_better(scan, by_image)
    if usual is None:
        return _tracked(scan, by_image)
    return usual.told_relative(_tracked(usual.scan, usual.track))


def _by_image(scan: Scan) -> tuple[Scan, Track]:
    """By the reference; without stripes, if it then explains the median frame far better."""
    by_image = follow_images(scan, scan.reference_image[None], scan.guesses.by_masks())
    striped = at_first_sight(scan) if _unexplained(scan, by_image).any() else None
    if striped is None:
        return scan, by_image
    found = follow_images(striped, striped.reference_image[None], scan.guesses.by_masks())
    left, before = (1 - np.nanmedian(one.similarity[scan.usable]) ** 2 for one in (found, by_image))
    return (striped, found) if left < (1 - STRIPES.worth) * before else (scan, by_image)


def _unexplained(scan: Scan, track: Track) -> NDArray[np.bool_]:
    """Frames ``(T,)`` that one image does not explain; none if they are few."""
    doubtful = scan.usable & (track.similarity < TRACKING.unexplained)
    few = doubtful.sum() < max(3, TRACKING.unexplained_share * scan.usable.sum())
    return np.asarray(doubtful & (not few))


def _tracked(scan: Scan, by_image: Track) -> Tracking:
    """As they are, or tied in pairs where one image leaves too many frames unexplained."""
    doubtful = _unexplained(scan, by_image)
    kinds = kinds_of(scan)
    if not doubtful.any() or (kinds is not None and kinds.other[doubtful].mean() > 0.5):
        return _tracking(scan, by_image)
    known = by_image.poses.clone()
    known[doubtful.tolist()] = torch.eye(4).to(known)  # what a search finds in vain misleads
    tied = refine_tied(scan, tie(scan, known)).track
    gain = Judge(scan.frames, scan.head, scan.usable).gain(tied.poses, by_image.poses)
    if not clear(*gain):
        return _tracking(scan, by_image)
    return _tracking(scan, tied, compared("tied", "plain", *gain))


def _tracking(scan: Scan, track: Track, *findings: str) -> Tracking:
    return Tracking(
        reference=scan.reference,
        poses=track.poses.cpu().numpy(),
        similarity=track.similarity,
        searched=track.searched,
        contrasts=bool(findings),
        findings=findings,
        partial=track.partial if track.partial.any() else None,
    )


def track_by_network(scan: Scan) -> Tracking:
    """The pose network's answers as they are, compared with the reference."""
    everything = np.flatnonzero(scan.usable)
    poses = torch.eye(4, dtype=torch.float64).repeat(len(scan.usable), 1, 1)
    poses[everything] = scan.guesses(everything).cpu()
    poses[scan.reference] = torch.eye(4, dtype=torch.float64)
    searched = np.zeros(len(scan.usable), dtype=bool)
    return Tracking(scan.reference, poses.numpy(), similarity_at(scan, poses), searched)


def chosen(settings: MotionSettings) -> Tracker:
    """The tracker that is asked for; by itself, the one that was measured to be best."""
    if settings.tracker == "spaer" or (settings.tracker == "auto" and not settings.refine):
        return track_by_attention
    return track_by_search if settings.refine else track_by_network

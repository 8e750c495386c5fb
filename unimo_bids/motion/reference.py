"""A reference that was asked for is judged like any frame.

It may have lost a part of its signal, be of another contrast, dark, or nothing but noise. Then all
that is compared with it goes astray, while the frame that is still and like most others explains
them well. Where that leaves far less of them, frames are compared with it, and the reference has a
pose like any frame, with what is not known of it. Motion is told relative to it all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.brain.head import MaskError
from unimo_bids.motion.estimate import Tracking
from unimo_bids.motion.guesses import Guesses
from unimo_bids.motion.scan import CoarseFrames, Scan, head_in, of_frame
from unimo_bids.motion.thresholds import QUALITY, REFERENCE, TRACKING
from unimo_bids.motion.tracking import Track, follow_images, well_tracked
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.region import Region
from unimo_bids.spatial.resampling import resample
from unimo_bids.spatial.warp import Rigid
from unimo_bids.words import Interpolation

_TOLD = (
    "Frame {}, the reference, is unlike the others: frames were compared with frame {}, which "
    "leaves {:.0f} % of what the reference leaves of them (1 - r², in the median frame)."
)


@dataclass(frozen=True)
class Usual:
    """A scan as another frame than the reference sees it.

    Attributes
    ----------
    reference
        The frame that was asked for.
    pose
        ``(4, 4)`` of that frame, from the other.
    track
        Of all frames, from the other.
    told
        A sentence.
    """

    scan: Scan
    reference: int
    pose: Tensor
    track: Track
    told: str

    def told_relative(self, tracking: Tracking) -> Tracking:
        """What was tracked from there, relative to the frame that was asked for."""
        back = rigid.inverse(self.pose).cpu().numpy()
        poses = tracking.poses.copy()
        poses[self.reference] = self.pose.cpu().numpy()
        return replace(
            tracking,
            reference=self.reference,
            poses=poses @ back,
            findings=(self.told, *tracking.findings),
            compared=self.scan.reference,
        )


def explained_better(scan: Scan, track: Track) -> Usual | None:
    """The scan by its usual frame, where that explains the others far better than the reference.

    Parameters
    ----------
    track
        By the reference.
    """
    usual, usable = scan.usual, scan.usable
    if usual == scan.reference or usable.sum() < REFERENCE.fewest:
        return None
    others = usable & ~np.isin(np.arange(len(usable)), (usual, scan.reference))
    if np.median(track.similarity[others]) >= QUALITY.suspect:
        return None
    pose = torch.eye(4, dtype=torch.float64, device=track.poses.device)
    if track.similarity[usual] >= TRACKING.doubtful and not track.searched[usual]:
        pose = track.poses[usual]
    starts = track.poses @ rigid.inverse(pose)
    # the second time, the mask is where the first has found the head; before, no frame is worth a
    # search that would most often be in vain
    for search in (False, True):
        try:
            other = seen_from(scan, usual, pose)
        except MaskError:
            return None
        found = follow_images(other, other.reference_image[None], starts, search=search)
        own = _pose(found, usable, scan.reference, usual)
        pose, starts = rigid.inverse(own), found.poses
        before, after = (1 - one.similarity[others] ** 2 for one in (track, found))
        left = float(np.median(after / before.clip(1e-12)))
        if left >= 1:  # it does not even do as well
            return None
    if left > 1 - REFERENCE.worth:
        return None
    told = _TOLD.format(scan.reference, usual, 100 * left)
    return Usual(other, scan.reference, own, found, told)


def _pose(track: Track, usable: NDArray[np.bool_], frame: int, reference: int) -> Tensor:
    """Of a frame, if it is explained; else, of the nearest one that is."""
    good = np.flatnonzero(well_tracked(track, usable, reference))
    return track.poses[int(good[np.argmin(np.abs(good - frame))])]


def seen_from(scan: Scan, frame: int, pose: Tensor) -> Scan:
    """The same scan with another frame as the reference.

    Parameters
    ----------
    pose
        ``(4, 4)`` of that frame: where it has the head, if it has no mask of its own.
    """
    grid = scan.frames.grid
    raw = scan.frames.scaled(1.0)([frame])[0]
    scale = float(scan.coarse.level.image(raw[None])[0].flatten().quantile(0.98).abs())
    frames = scan.frames.scaled(scale or 1.0)
    image, mask = frames([frame])[0], of_frame(scan.mask, frame)
    if scan.mask is not None and scan.mask.ndim == 3:
        given = torch.from_numpy(scan.mask.astype(np.float32)).to(image)
        mask = _carried(pose, given, grid, "linear").cpu().numpy()
    head = head_in(image, grid, mask)
    return replace(
        scan,
        frames=frames,
        reference=frame,
        reference_image=image,
        head=head,
        steadiness=torch.ones_like(head.weights),
        coarse=CoarseFrames(frames, head, scan.progress),
        guesses=Guesses(frames, scan.mask, frame, head, scan.settings.fusion),
    )


def compared_with(scan: Scan, frame: int, track: Track) -> tuple[Scan, Track]:
    """The scan and its track as another frame sees them."""
    pose = track.poses[frame]
    other = seen_from(scan, frame, pose.cpu())
    return other, replace(track, poses=track.poses @ rigid.inverse(pose))


def head_from(pose: Tensor, head: Region) -> Region:
    """A head in the space of a frame at a pose."""
    weights = _carried(pose, head.weights, head.grid, "linear")
    return replace(head, weights=weights, center=_moved(pose, head.center))


def told_from(
    pose: Tensor, template: Tensor, covariance: Tensor, head: Region, center: Tensor
) -> tuple[Tensor, Tensor]:
    """A template ``(X, Y, Z)`` and covariances ``(T, 6, 6)`` in the space of a frame at a pose.

    Parameters
    ----------
    head
        What shifts were of, before.
    center
        ``(3,)`` what they are of, there.
    """
    there = small_motions(pose, head.center, center).to(covariance)
    return _carried(pose, template, head.grid, "cubic"), there @ covariance @ there.mT


def small_motions(pose: Tensor, center: Tensor, other: Tensor) -> Tensor:
    """What makes of small motions about a centre those about another, past a pose: ``(6, 6)``."""
    turn = torch.block_diag(pose[:3, :3], pose[:3, :3])
    # a rotation about another centre shifts this one
    arm = other.to(pose) - _moved(pose, center)
    shifted = torch.eye(6).to(pose)
    shifted[3:, :3] = -rigid.cross_matrix(arm)
    return shifted @ turn


def _moved(pose: Tensor, point: Tensor) -> Tensor:
    return rigid.transform(pose, point.to(pose)[None])[0]


def _carried(pose: Tensor, image: Tensor, grid: Grid, interpolation: Interpolation) -> Tensor:
    return resample(image, grid, Rigid(rigid.inverse(pose)), interpolation=interpolation)

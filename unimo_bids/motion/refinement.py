"""Poses at full resolution: frames registered to images, above all to their template."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.frames import Frames
from unimo_bids.motion.scan import MOST_FRAMES, Scan
from unimo_bids.motion.template import choose_frames, robust_mean, steadiness
from unimo_bids.motion.thresholds import QUALITY
from unimo_bids.motion.tracking import Track, well_tracked
from unimo_bids.registration.contrast import contrast_changes
from unimo_bids.registration.gauss_newton import register
from unimo_bids.registration.levels import make_level
from unimo_bids.registration.target import Target
from unimo_bids.registration.uncertainty import block_covariance
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid, Window

# voxels around the head that a window keeps: what blur and spline prefilter reach, and GN's steps
_WINDOW_RIM = 8


@dataclass
class Refined:
    """Poses at full resolution and what is known of them, one row per frame of the series."""

    poses: Tensor
    covariance: Tensor
    similarity: NDArray[np.float64]
    in_view: NDArray[np.float64]

    def take(self, other: Refined, frames: NDArray[np.int_]) -> None:
        """Replace what is known of some frames."""
        rows = torch.as_tensor(frames, device=self.poses.device)
        self.poses[rows], self.covariance[rows] = other.poses[rows], other.covariance[rows]
        self.similarity[frames], self.in_view[frames] = (
            other.similarity[frames],
            other.in_view[frames],
        )


def refine_to_template(scan: Scan, track: Track) -> tuple[Scan, Refined, Tensor, bool]:
    """Register all frames to the mean of some that are aligned.

    Returns the scan as it is known now, poses, the template ``(1, X, Y, Z)``, and whether one image
    cannot explain the series.
    """
    if not scan.settings.template or scan.frames.count < 3:
        template = scan.reference_image[None]
        return scan, refine(scan, template, track.poses, scan.usable), template, False
    poses, averaged = _aligned_finely(scan, track)
    aligned = scan.aligned(poses, averaged)
    mean = robust_mean(aligned)
    steady = scan.steadiness.clone()
    steady[scan.window] = steadiness(aligned, mean, scan.weights)
    scan = replace(scan, steadiness=steady)
    template = scan.placed(mean[None], scan.reference_image)
    refined = refine(scan, template, poses, scan.usable)
    return scan, refined, template, _contrast_changes(scan, aligned, refined)


def _aligned_finely(scan: Scan, track: Track) -> tuple[Tensor, list[int]]:
    """Frames for the template, finely aligned to the reference (the others as they were)."""
    good = well_tracked(track, scan.usable, scan.reference)
    rest = torch.eye(4, dtype=torch.float64, device=track.poses.device)
    moved = rigid.displacement(track.poses, rest, scan.head.surface()).mean(dim=-1)
    wanted = int(np.clip(len(good) // 4, 6, MOST_FRAMES))
    chosen = choose_frames(scan.reference, track.similarity, moved.cpu().numpy(), good, wanted)
    among = np.isin(np.arange(len(good)), chosen)
    fine = refine(scan, scan.reference_image[None], track.poses, among, share=0.0).poses
    poses = track.poses.clone()
    poses[chosen] = fine[chosen]
    poses[scan.reference] = rest
    return poses, chosen


def _contrast_changes(scan: Scan, aligned: Tensor, refined: Refined) -> bool:
    """Whether it differs among the template's frames, or in those that fit it less well."""
    suspects = np.nan_to_num(refined.similarity, nan=1.0) < QUALITY.suspect
    if suspects.sum() < QUALITY.suspects:
        return False
    if contrast_changes(aligned, robust_mean(aligned), scan.weights):
        return True
    aligned = scan.aligned(refined.poses, scan.spread(scan.usable))
    return contrast_changes(aligned, robust_mean(aligned), scan.weights)


def refine(
    scan: Scan,
    images: Tensor,
    poses: Tensor,
    wanted: NDArray[np.bool_],
    share: float = 0.7,
    *,
    even: bool = False,
) -> Refined:
    """Poses of the wanted frames against images ``(J, X, Y, Z)``, at full resolution.

    Parameters
    ----------
    share
        Of the work, for the progress; where it is 0, nothing is found out about precision.
    even
        Compare frames without the coils' sensitivity; the images are then of such frames.
    """

    def progress(done: float) -> None:
        if share:
            scan.progress(1 - share + share * done, "refining")

    return refine_frames(
        scan.evened() if even else scan.frames,
        scan.target(images, scan.fine, scan.settings.fine_points, "bias"),
        poses,
        wanted,
        tolerance=scan.settings.tolerance,
        spread=share > 0,
        progress=progress,
    )


def refine_frames(
    frames: Frames,
    target: Target,
    poses: Tensor,
    wanted: NDArray[np.bool_],
    *,
    tolerance: float,
    spread: bool = True,
    progress: Callable[[float], None] = lambda _share: None,
) -> Refined:
    """Register frames to a target at full resolution.

    Parameters
    ----------
    target
        Made at a level of the whole grid.
    poses
        ``(T, 4, 4)`` where to start.
    wanted
        ``(T,)`` the frames to register; the others keep their poses, and nothing is said of them.
    tolerance
        Stop when a step moves the head by less, mm.
    spread
        Find out how far off the poses may be, too.
    progress
        Told the share done.
    """
    count = frames.count
    poses = poses.clone()
    covariance = torch.full((count, 6, 6), torch.nan, dtype=torch.float64, device=poses.device)
    similarity, in_view = np.full(count, np.nan), np.full(count, np.nan)
    for chunk in frames.chunks(np.flatnonzero(wanted).tolist()):
        rows = list(chunk)
        window = _window(target, frames.grid, poses[rows])
        level = make_level(
            frames.grid.part(window), blur=target.level.blur, cubic=True, device=poses.device
        )
        raw = frames(rows)[:, *window]
        sampled = level.sampled(raw)[:, None]
        nothing = frames.unseen(rows, raw, window)
        valid = level.image(1 - nothing) if bool(nothing.any()) else None
        found = register(
            target, sampled, poses[rows], level=level, tolerance=tolerance, valid=valid
        )
        poses[rows] = found.poses
        if spread:
            covariance[rows] = block_covariance(
                target, sampled, found.poses, level=level, valid=valid
            )
        similarity[rows] = found.similarity.cpu().numpy()
        in_view[rows] = found.in_view.cpu().numpy()
        progress((rows[-1] + 1) / count)
    return Refined(poses, covariance, similarity, in_view)


def _window(target: Target, grid: Grid, poses: Tensor) -> Window:
    """The voxels that the target's points can reach in frames at these poses."""
    corners = torch.stack([target.points.amin(dim=0), target.points.amax(dim=0)]).double()
    box = torch.cartesian_prod(*corners.T) + target.center
    indices = rigid.transform(grid.to_index.to(poses) @ poses, box)
    low = indices.amin(dim=(0, 1)).floor().long() - _WINDOW_RIM
    high = indices.amax(dim=(0, 1)).ceil().long() + _WINDOW_RIM + 1
    slices = []
    for axis, n in enumerate(grid.shape):
        start = int(low[axis].clamp(0, max(0, n - 2 * _WINDOW_RIM)))
        stop = int(high[axis].clamp(min(n, start + 2 * _WINDOW_RIM), n))
        slices.append(slice(start, stop))
    return slices[0], slices[1], slices[2]

"""Head motion of a 4D series: from the file's voxels to a pose for every frame.

The way of a series: find a still reference frame and the head in it (`scan`) → follow the head
coarsely through all frames (`trackers`) → average the best aligned frames and refine every frame to
that template at full resolution (`refinement`), or explain them otherwise (`explanations`), if they
then agree better (`judge`, `ways`) → judge every pose and bridge what failed (`quality`). Frames
are read a few at a time; what is kept of all of them is a coarse copy.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.artefacts.losses import without_losses
from unimo_bids.motion.artefacts.torn import torn_reference
from unimo_bids.motion.contrast.cycles import (
    contrast_cycle,
    cycle_finding,
    most_different,
    without_cycle,
)
from unimo_bids.motion.contrast.groups import place_groups
from unimo_bids.motion.contrast.kinds import by_kinds
from unimo_bids.motion.estimate import MotionEstimate, Tracking
from unimo_bids.motion.explanations import explain
from unimo_bids.motion.frames import Frames
from unimo_bids.motion.judge import Judge
from unimo_bids.motion.quality import bridge, similarity_threshold, within_frame
from unimo_bids.motion.reference import compared_with, head_from, told_from
from unimo_bids.motion.scan import Progress, Scan, read_scan, scout
from unimo_bids.motion.settings import MotionSettings
from unimo_bids.motion.spaer import by_attention, predict
from unimo_bids.motion.thresholds import QUALITY
from unimo_bids.motion.trackers import Tracker, chosen
from unimo_bids.motion.tracking import Track, well_tracked
from unimo_bids.motion.ways import Way, best_way, do_no_harm
from unimo_bids.spatial import rigid
from unimo_bids.spatial.region import Region
from unimo_bids.words import Mode

_UNLIKE = (
    "Frame {}, the reference, is not explained by the others (similarity {:.2f}): all that is told "
    "relative to it may be wrong. Take another frame, or leave the choice to the program."
)
_HARDLY = (
    "Frames are hardly explained by their poses (median similarity {:.2f}): they are noisy, or the "
    "poses are wrong. Look at the corrected series before using it."
)


def track_motion(
    series: Any,
    affine: NDArray[np.float64],
    *,
    mask: NDArray[Any] | None = None,
    reference: int | Literal["auto"] = "auto",
    device: str | torch.device = "cpu",
    settings: MotionSettings | None = None,
    progress: Progress | None = None,
) -> Tracking:
    """Follow the head through a series: the first half of `estimate_motion` (see there)."""
    with torch.inference_mode():
        return track(read_scan(series, affine, mask, reference, device, settings, progress))


def find_reference(series: Any, affine: NDArray[np.float64]) -> int:
    """Index of a still frame that looks like most others: what ``reference="auto"`` takes."""
    with torch.inference_mode():
        return scout(Frames(series, affine, torch.device("cpu"))).reference


def estimate_motion(
    series: Any,
    affine: NDArray[np.float64],
    *,
    mask: NDArray[Any] | None = None,
    reference: int | Literal["auto"] = "auto",
    device: str | torch.device = "cpu",
    settings: MotionSettings | None = None,
    progress: Progress | None = None,
    tracking: Tracking | None = None,
) -> MotionEstimate:
    """Estimate the rigid head motion of a series.

    Parameters
    ----------
    series
        ``(X, Y, Z, T)`` array or anything indexed like one.
    affine
        ``(4, 4)`` voxel → RAS mm.
    mask
        What moves rigidly: ``(X, Y, Z)`` in the reference frame, bool or soft (0 … 1), or
        ``(X, Y, Z, T)``, one per frame: registration looks at the reference's, the others only
        say where the head's centre is. Without a mask, everything that is not air.
    reference
        Frame that poses are relative to; ``"auto"`` takes a still one.
    progress
        Called with the share done and what is being done.
    tracking
        Where to start, from `track_motion` or another tracker; its reference then counts.

    Examples
    --------
    >>> import nibabel
    >>> image = nibabel.load("sub-01_task-rest_bold.nii.gz")      # doctest: +SKIP
    >>> motion = estimate_motion(image.dataobj, image.affine)     # doctest: +SKIP
    >>> motion.poses.shape, set(motion.status)                    # doctest: +SKIP
    ((300, 4, 4), {'ok'})
    """
    with torch.inference_mode():
        start = reference if tracking is None else tracking.reference
        scan = read_scan(series, affine, mask, start, device, settings, progress)
        return refine_tracking(scan, tracking or track(scan))


def track(scan: Scan, tracker: Tracker | None = None) -> Tracking:
    """Rough poses of all frames, by a tracker of one's own if there is one."""
    return (tracker or chosen(scan.settings))(scan)


def refine_tracking(scan: Scan, tracking: Tracking) -> MotionEstimate:
    """Poses at full resolution, judged, from rough ones."""
    tracked = Track(
        torch.from_numpy(tracking.poses).to(scan.frames.device),
        tracking.similarity,
        tracking.searched.copy(),
    )
    if not scan.settings.refine:
        return _unrefined(scan, tracked, tracking.covariance)
    findings, asked = tracking.findings, scan
    if tracking.compared is not None:
        scan, tracked = compared_with(scan, tracking.compared, tracked)
    if tracking.partial is not None and tracking.partial.any():
        partial = np.flatnonzero(tracking.partial).tolist()
        scan, finding = without_losses(scan, tracked.poses, partial)
        findings = (*findings, finding)
    of_kinds = by_kinds(scan, tracked)
    if of_kinds is not None:
        way, told = of_kinds
        judge = Judge(scan.frames, scan.head, scan.usable)
        (readings,) = judge.read(way.refined.poses)
        do_no_harm(scan, judge, way, readings)
        return _judged(scan, way, "tied", (*findings, told), False, asked, scan.head)
    whole, explained = scan.head, explain(scan, tracked, tracking.contrasts)
    scan, ways = explained.scan, explained.ways
    judge = Judge(scan.frames, scan.head, scan.usable)
    mode, way, readings, compared = best_way(judge, ways, scan.head.center)
    findings = (*findings, *explained.findings, *compared)
    if mode in ("common", "tied"):
        way, moved = place_groups(scan, judge, way)
        if moved:
            findings = (*findings, moved)
            (readings,) = judge.read(way.refined.poses)
    if mode != "rest":
        do_no_harm(scan, judge, way, readings)
    elif tracking.compared is not None:  # the others rest, but not where that frame has the head
        way.refined.poses[asked.reference] = way.track.poses[asked.reference]
    contrasts = mode != "rest" and list(ways) != ["plain"]
    return _judged(scan, way, mode, findings, contrasts, asked, whole)


def _unrefined(
    scan: Scan, tracked: Track, covariance: NDArray[np.float64] | None
) -> MotionEstimate:
    """Tracking as it is; of its precision only the tracker may know."""
    unknown = np.full((scan.frames.count, 6, 6), np.nan)
    good = well_tracked(tracked, scan.usable, scan.reference)
    return _estimate(
        scan,
        tracked.poses.cpu(),
        torch.from_numpy(unknown if covariance is None else covariance),
        tracked.similarity,
        np.where(good, "ok", "lost"),
        scan.reference_image,
    )


def _judged(
    scan: Scan,
    way: Way,
    mode: Mode,
    findings: tuple[str, ...],
    contrasts: bool,
    asked: Scan,
    whole: Region,
) -> MotionEstimate:
    """Which poses to believe; bridges across the others; all relative to the reference.

    Parameters
    ----------
    asked
        The scan relative to whose reference motion is told.
    whole
        The head, before anything of it was left out.
    """
    refined, usable, reference = way.refined, scan.usable, asked.reference
    explained = usable & (refined.similarity >= QUALITY.never_failed)
    alone = not refined.similarity[reference] >= QUALITY.never_good  # the others show not that
    shown = scan.reference == reference or not alone
    tear = torn_reference(scan, way, explained, reference) if shown else None
    score = refined.similarity * np.minimum(refined.in_view / 0.5, 1)  # a sliver fits anything
    good = usable & (score >= similarity_threshold(score[usable]))
    if not good[reference]:
        findings = (*findings, _UNLIKE.format(reference, score[reference]))
        # nothing but that frame says where the others are
        good &= not (alone and scan.reference == reference)
    if good.any() and (usual := np.median(refined.similarity[good])) < QUALITY.hardly:
        findings = (*findings, _HARDLY.format(usual))
    # the way back to the reference: its own pose, unless that is nothing
    good[reference] = shown
    good[scan.reference] = True
    center, radius = scan.head.center.cpu(), scan.head.radius
    poses, covariance = refined.poses.cpu(), refined.covariance.cpu()
    predicted = None
    if by_attention(scan, good):
        predicted = predict(poses, covariance, good, scan.times, center, radius)
    poses, covariance, bridged = bridge(poses, covariance, good, score, center, radius, predicted)
    period = contrast_cycle(_contrast_over_time(scan, poses)) if contrasts else 0
    if period:
        poses, covariance, extent = without_cycle(poses, covariance, period, center, radius)
        findings = (*findings, cycle_finding(period, extent))
    covariance = covariance + within_frame(poses, good, center)
    if way.unknown is not None:
        covariance = covariance + way.unknown.cpu()
    if tear is not None:
        findings = (tear.told, *findings)
        covariance[reference] += tear.covariance.to(covariance)
    # the reference's own pose in the template is no better known than the others'
    covariance = covariance + torch.nan_to_num(covariance[reference])
    covariance[reference] = 0.0
    template, moving = way.images[0], scan.head
    if scan.reference != reference:
        back = poses[reference]
        moving = head_from(back, moving)
        if scan.mask is None:
            asked = replace(asked, head=head_from(back, whole))
        template = template * (scan.frames.scale / asked.frames.scale)
        center = asked.head.center.cpu()
        template, covariance = told_from(back, template, covariance, scan.head, center)
    poses = rigid.orthonormalized(poses @ rigid.inverse(poses[reference]))
    poses[reference] = torch.eye(4, dtype=torch.float64)
    status = np.where(way.track.searched, "searched", "ok").astype("<U8")
    status[~good] = "lost"
    status[bridged] = "bridged"
    rows = poses, covariance, refined.similarity, status
    found = _estimate(asked, *rows, template, mode, findings)
    trimmed = None if scan.head is whole else moving.weights.cpu().numpy()
    return replace(found, moving=trimmed)


def _contrast_over_time(scan: Scan, poses: Tensor) -> NDArray[np.float64]:
    """How much each frame shows of what differs most among frames, ``(T,)``."""
    values = scan.read_coarse(scan.coarse.images.float(), poses)
    return most_different(values, torch.from_numpy(scan.usable).to(values.device))


def _estimate(
    scan: Scan,
    poses: Tensor,
    covariance: Tensor,
    similarity: NDArray[np.float64],
    status: NDArray[np.str_],
    template: Tensor,
    mode: Mode = "plain",
    findings: tuple[str, ...] = (),
) -> MotionEstimate:
    scan.progress(1.0, "done")
    return MotionEstimate(
        poses=poses.numpy(),
        covariance=covariance.numpy(),
        similarity=similarity,
        status=status.astype("<U8"),
        template=(template * scan.frames.scale).cpu().numpy(),
        mask=scan.head.weights.cpu().numpy(),
        reference=scan.reference,
        center=scan.head.center.cpu().numpy(),
        radius=scan.head.radius,
        mode=mode,
        findings=findings,
    )

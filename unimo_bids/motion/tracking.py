"""Rough poses of all frames, against the reference, from the cheapest start that explains each.

Every frame is tried from rest. Where that does not explain it, it is tried from the poses of its
neighbours and on along their motion, as often as that helps: a moving head is followed through the
series from both sides. What is still unexplained is tried from a guess, the network's, and then
searched over all rotations and translations; after each, its neighbours are tried again from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.artefacts.losses import SignalLoss
from unimo_bids.motion.quality import similarity_threshold
from unimo_bids.motion.scan import Scan
from unimo_bids.motion.thresholds import LOSSES, QUALITY, TRACKING
from unimo_bids.registration.gauss_newton import Registration, register
from unimo_bids.registration.search import in_all_rotations, search_poses
from unimo_bids.registration.target import Target
from unimo_bids.spatial import rigid

Guess = Callable[[NDArray[np.int_]], Tensor]

_BATCH = 64
_VOXELS = 1 << 24  # of the frames of a batch: bounds the working memory
_SEARCH_BATCH = 8
# searches in a row that find nothing better before the series is taken for a poor one
_VAIN_SEARCHES = 24


@dataclass(frozen=True)
class Targets:
    """The reference at the coarse level under two intensity models."""

    stiff: Target
    flexible: Target


@dataclass
class Track:
    """Rough poses: ``poses (T, 4, 4)``, ``similarity (T,)``, ``searched (T,)``.

    ``partial (T,)``: found without a part of the head that has no signal.
    """

    poses: Tensor
    similarity: NDArray[np.float64]
    searched: NDArray[np.bool_]
    partial: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))


def well_tracked(track: Track, usable: NDArray[np.bool_], reference: int) -> NDArray[np.bool_]:
    """Frames ``(T,)`` that their rough poses explain."""
    good = usable & (track.similarity >= similarity_threshold(track.similarity[usable]))
    good[reference] = True
    return np.asarray(good)


def follow_images(
    scan: Scan, images: Tensor, starts: Tensor | None = None, *, search: bool = True
) -> Track:
    """Follow the head through a scan by images ``(J, X, Y, Z)`` of it, from poses if any are known.

    Parameters are those of `follow`; the scan's settings may forbid a search, too.
    """
    coarse, points = scan.coarse, scan.settings.coarse_points
    copies = coarse.images
    targets = Targets(
        stiff=scan.target(images, coarse.level, points, "gain"),
        flexible=scan.target(images, coarse.level, points, "bias"),
    )
    scan.progress(0.2, "tracking")
    return follow(
        targets,
        copies,
        coarse.level.image(scan.reference_image),
        coarse.level.image(scan.head.weights).clamp(0, 1),
        scan.usable,
        starts=starts,
        guess=scan.guesses if scan.settings.network else None,
        search=search and scan.settings.search,
    )


def similarity_at(scan: Scan, poses: Tensor) -> NDArray[np.float64]:
    """How well frames agree with the reference at poses ``(T, 4, 4)``, as they stand."""
    similarity = np.full(scan.frames.count, np.nan)
    level, copies = scan.coarse.level, scan.coarse.images
    points = scan.settings.coarse_points
    target = scan.target(scan.reference_image[None], level, points, "bias")
    for chunk in scan.frames.chunks(np.flatnonzero(scan.usable).tolist()):
        rows = list(chunk)
        at = poses[rows].to(copies.device)
        judged = register(target, copies[rows].float()[:, None], at, iterations=1, tolerance=0.0)
        similarity[rows] = judged.similarity.cpu().numpy()
    return similarity


def follow(
    targets: Targets,
    images: Tensor,
    reference_image: Tensor,
    weights: Tensor,
    usable: NDArray[np.bool_],
    *,
    starts: Tensor | None = None,
    guess: Guess | None = None,
    search: bool = True,
) -> Track:
    """Follow the head through the series at a coarse level.

    Parameters
    ----------
    targets
        The reference at the coarse level.
    images
        ``(T, X, Y, Z)`` all frames at that level (any float type).
    reference_image, weights
        ``(X, Y, Z)`` the reference and its soft mask at that level.
    usable
        ``(T,)`` frames that hold an image at all.
    starts
        ``(T, 4, 4)`` poses to try beside rest, if anything is known of them.
    guess
        Poses ``(F, 4, 4)`` of F frames that nothing nearby explains, worth trying before a search.
    search
        Search all rotations for frames that are not explained otherwise.
    """
    n = len(images)
    poses = torch.eye(4, dtype=torch.float64, device=images.device).repeat(n, 1, 1)
    none = np.zeros(n, dtype=bool)
    result = Track(poses, np.full(n, np.nan), none.copy(), none.copy())
    everything = np.flatnonzero(usable)
    _adopt(result, everything, _register(targets, images, everything, poses[everything]), False)
    if starts is not None:
        known = _register(targets, images, everything, starts[everything])
        _adopt(result, everything, known, False)
    _propagate(result, targets, images, usable)

    loss = SignalLoss.at(targets.stiff.level, reference_image, weights, targets.stiff.radius)
    _without_losses(result, targets, images, loss, usable)
    unexplained = _unexplained(result, usable)
    if guess is not None and len(unexplained) > 0:
        known = _register(targets, images, unexplained, guess(unexplained))
        if _adopt(result, unexplained, known, False).any():
            _propagate(result, targets, images, usable)
            unexplained = _unexplained(result, usable)
    if search and len(unexplained) > 0:
        _search(result, targets, images, reference_image, weights, unexplained)
        _propagate(result, targets, images, usable)
    return result


def _unexplained(result: Track, usable: NDArray[np.bool_]) -> NDArray[np.int_]:
    doubted = result.similarity < _doubt(result.similarity[usable])
    return np.flatnonzero(usable & doubted & ~result.partial)


def _doubt(similarity: NDArray[np.float64]) -> float:
    """Below this another start is worth its time; far above what calls a frame failed."""
    relative = similarity_threshold(
        similarity, TRACKING.spreads, TRACKING.least_below, TRACKING.most_below
    )
    return max(relative, TRACKING.doubtful)


def _register(
    targets: Targets, images: Tensor, frames: NDArray[np.int_], starts: Tensor
) -> Registration:
    parts = []
    size = max(1, min(_BATCH, _VOXELS // images[0].numel()))
    for first in range(0, len(frames), size):
        chosen = torch.as_tensor(frames[first : first + size], device=images.device)
        parts.append(register_roughly(targets, images[chosen], starts[first : first + size]))
    return Registration.joined(parts)


def register_roughly(targets: Targets, images: Tensor, starts: Tensor) -> Registration:
    """Register images ``(B, X, Y, Z)`` of frames at the coarse level from poses ``(B, 4, 4)``.

    First with a stiff intensity model, which a misplaced head cannot bend to its fit, then with one
    that explains a receive field: only so do similarities of right poses agree.
    """
    sampled = images.float()[:, None]
    rough = register(targets.stiff, sampled, starts, tolerance=0.1)
    return register(targets.flexible, sampled, rough.poses, tolerance=0.05)


def _score(found: Registration) -> NDArray[np.float64]:
    return np.asarray(found.score.cpu(), dtype=np.float64)


def _adopt(
    result: Track, frames: NDArray[np.int_], found: Registration, searched: bool
) -> NDArray[np.bool_]:
    """Keep what explains a frame better than what it had; returns which were kept."""
    score = _score(found)
    old = result.similarity[frames]
    better = ~(score <= old + TRACKING.gain)  # true where there was nothing yet
    rows = torch.as_tensor(frames[better], device=result.poses.device)
    result.poses[rows] = found.poses[torch.as_tensor(better, device=found.poses.device)]
    result.similarity[frames[better]] = score[better]
    result.searched[frames[better]] = searched
    result.partial[frames[better]] = False
    return better


def _without_losses(
    result: Track, targets: Targets, images: Tensor, loss: SignalLoss, usable: NDArray[np.bool_]
) -> None:
    """Try frames without the part of the head that has no signal in them."""
    unexplained = np.isin(np.arange(len(usable)), _unexplained(result, usable))
    explained = np.flatnonzero(usable & ~unexplained)
    rest = torch.eye(4, dtype=torch.float64, device=images.device)
    for t in np.flatnonzero(usable & (result.similarity < QUALITY.suspect)).tolist():
        starts = [result.poses[t].clone()]
        if unexplained[t]:
            nearest = explained[np.argsort(np.abs(explained - t), kind="stable")[:2]]
            starts = [*result.poses[nearest.tolist()], rest, *starts]
        for start in starts:
            found = _partly(targets, images[t].float(), loss, start)
            if found is not None and _score(found)[0] > LOSSES.explained:
                one = np.array([t])
                result.partial[one] = _adopt(result, one, found, False)
                break


def _partly(
    targets: Targets, image: Tensor, loss: SignalLoss, start: Tensor
) -> Registration | None:
    """A frame registered from a pose by what has signal there; None if all of it has, or little."""
    pose, found = start[None], None
    for target, tolerance in ((targets.stiff, 0.1), (targets.flexible, 0.05)):
        kept, without = loss(image, pose[0])
        if without < LOSSES.fewest:
            return None
        found = register(target, image[None, None], pose, tolerance=tolerance, valid=kept[None])
        pose = found.poses
    return found if found is not None and float(found.in_view) > LOSSES.seen else None


def _propagate(result: Track, targets: Targets, images: Tensor, usable: NDArray[np.bool_]) -> None:
    """Try unexplained frames from their neighbours' poses until nothing changes."""
    n = len(images)
    changed = usable.copy()
    for _ in range(n):
        threshold = _doubt(result.similarity[usable])
        # a frame asks again only when a neighbour has something new and better to offer
        frames, starts = [], []
        for t in np.flatnonzero(usable & ~(result.similarity >= threshold)).tolist():
            for step in (-1, 1):
                neighbour = _next_usable(usable, t, step)
                if neighbour is None or not changed[neighbour]:
                    continue
                if not result.similarity[neighbour] > result.similarity[t]:
                    continue
                frames.append(t)
                starts.append(result.poses[neighbour])
                beyond = _next_usable(usable, neighbour, step)
                if beyond is not None:  # on along the motion
                    frames.append(t)
                    velocity = result.poses[neighbour] @ rigid.inverse(result.poses[beyond])
                    starts.append(velocity @ result.poses[neighbour])
        changed = np.zeros(n, dtype=bool)
        if not frames:
            return
        found = _register(targets, images, np.array(frames), torch.stack(starts))
        for t in np.unique(frames):
            mine = np.flatnonzero(np.array(frames) == t)
            best = int(mine[np.argmax(_score(found)[mine])])
            one = found.rows([best])
            changed[t] = bool(_adopt(result, np.array([t]), one, bool(result.searched[t]))[0])


def _next_usable(usable: NDArray[np.bool_], t: int, step: int) -> int | None:
    t += step
    while 0 <= t < len(usable):
        if usable[t]:
            return t
        t += step
    return None


def _search(
    result: Track,
    targets: Targets,
    images: Tensor,
    reference_image: Tensor,
    weights: Tensor,
    frames: NDArray[np.int_],
) -> None:
    stiff = targets.stiff
    head = in_all_rotations(
        reference_image, weights, stiff.level, center=stiff.center, radius=stiff.radius
    )
    vain = 0
    frames = frames[np.argsort(result.similarity[frames], kind="stable")]  # the worst first
    for first in range(0, len(frames), _SEARCH_BATCH):
        chosen = frames[first : first + _SEARCH_BATCH]
        index = torch.as_tensor(chosen, device=images.device)
        starts = search_poses(head, images[index].float())
        many = starts.shape[1]
        found = _register(targets, images, np.repeat(chosen, many), starts.reshape(-1, 4, 4))
        score = _score(found).reshape(len(chosen), many)
        best = [row * many + int(np.argmax(score[row])) for row in range(len(chosen))]
        better = _adopt(result, chosen, found.rows(best), True)
        vain = 0 if better.any() else vain + len(chosen)
        if vain >= _VAIN_SEARCHES:
            return

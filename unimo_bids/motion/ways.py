"""Ways to explain the frames of a series, and the choice among them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.judge import PARTNERS, Judge, Partners, Readings, clear, mean_gain
from unimo_bids.motion.refinement import Refined, refine
from unimo_bids.motion.scan import Scan
from unimo_bids.motion.thresholds import QUALITY, REFERENCE
from unimo_bids.motion.tracking import Track
from unimo_bids.spatial import rigid
from unimo_bids.words import Mode

_TOLD: dict[Mode, str] = {
    "plain": "by one image",
    "common": "by images common to all contrasts",
    "tied": "tied in pairs of different contrast",
    "rest": "at rest",
}


@dataclass
class Way:
    """Poses, what the frames were compared with to find them, and where they came from.

    Attributes
    ----------
    images
        ``(J, X, Y, Z)`` any combination of which explains a frame; the first is their mean.
    unknown
        ``(T, 6, 6)`` covariance that frames share, so that neighbours tell nothing against it.
    """

    refined: Refined
    images: Tensor
    track: Track
    unknown: Tensor | None = None

    def at_rest(self, center: Tensor) -> Way:
        """The same without motion; how far it was from that adds to the variance."""
        poses = self.refined.poses
        rest = torch.eye(4, dtype=torch.float64, device=poses.device).expand_as(poses).clone()
        rotation, shift = rigid.to_parameters(poses, center.expand(len(poses), 3))
        given_up = torch.cat([rotation, shift], dim=1)
        covariance = self.refined.covariance + given_up[:, :, None] * given_up[:, None, :]
        return replace(self, refined=replace(self.refined, poses=rest, covariance=covariance))


def best_way(
    judge: Judge, ways: dict[Mode, Way], center: Tensor
) -> tuple[Mode, Way, Readings, tuple[str, ...]]:
    """Choose the way under which frames agree best; each has to win clearly over those before it.

    The first is to be beaten. Rest, too, has to win clearly: a small motion that is as good as none
    stays. Returns also what was read through its poses, and a sentence for each comparison.
    """
    best = next(iter(ways))
    poses = ways[best].refined.poses
    rest = torch.eye(4, dtype=torch.float64, device=poses.device).expand_as(poses)
    sets: dict[Mode, Tensor] = {mode: way.refined.poses for mode, way in ways.items()}
    read = dict(zip([*sets, "rest"], judge.read(*sets.values(), rest), strict=True))
    agreed = {mode: judge.agreement(one) for mode, one in read.items()}
    findings = []
    for mode in ways:
        if mode != best:
            gain = mean_gain(agreed[mode], agreed[best])
            findings.append(compared(mode, best, *gain))
            if clear(*gain):
                best = mode
    gain = mean_gain(agreed["rest"], agreed[best])
    if not clear(*gain):
        return best, ways[best], read[best], tuple(findings)
    findings.append(f"{compared('rest', best, *gain)} No motion is corrected.")
    return "rest", ways[best].at_rest(center), read["rest"], tuple(findings)


def compared(mode: Mode, other: Mode, gain: float, error: float) -> str:
    """Say how two ways compare."""
    how = "better" if clear(gain, error) else "no better"
    return (
        f"Frames agree {how} {_TOLD[mode]} than {_TOLD[other]} "
        f"(mutual information {gain:+.4f} ± {error:.4f} nats)."
    )


def do_no_harm(scan: Scan, judge: Judge, way: Way, readings: Readings) -> None:
    """Start again from rest or a neighbour's pose where that clearly suits a frame better.

    Frames that are wrong together agree with each other. So one that is explained badly is asked
    again by frames that are explained better, from the poses of the nearest of these.
    """
    everything = np.flatnonzero(scan.usable)
    near = {t: _beside(everything, t) for t in judge.partners}
    _start_again(scan, judge, way, readings, judge.partners, near)
    similarity = np.where(scan.usable, np.nan_to_num(way.refined.similarity), -1)
    doubted: Partners = {}
    for t in np.flatnonzero(scan.usable & (similarity < QUALITY.never_failed)).tolist():
        surer = np.flatnonzero(similarity > similarity[t])
        if len(surer) >= REFERENCE.fewest:
            picked = np.linspace(0, len(surer) - 1, PARTNERS).round().astype(int)
            doubted[t] = sorted({int(surer[one]) for one in picked})
            near[t] = _beside(surer, t)
    if doubted:
        (readings,) = judge.read(way.refined.poses)
        _start_again(scan, judge, way, readings, doubted, near)


def _start_again(
    scan: Scan,
    judge: Judge,
    way: Way,
    readings: Readings,
    partners: Partners,
    near: dict[int, tuple[int, int]],
) -> None:
    """Refine frames from rest or another frame's pose, where their partners say so.

    Parameters
    ----------
    partners, near
        Of each frame that is asked: those that judge it, and those whose poses are tried.
    """
    poses = way.refined.poses
    rest = torch.eye(4, dtype=torch.float64).expand(len(poses), 4, 4).to(poses)
    others = torch.stack([rest, poses, poses], dim=1)
    for t, pair in near.items():
        others[t, 1:] = poses[list(pair)]
    better = judge.better(readings, others, partners)
    better[scan.reference] = -1
    frames = np.flatnonzero(better >= 0)
    if len(frames) == 0:
        return
    starts = poses.clone()
    starts[frames.tolist()] = others[frames.tolist(), better[frames].tolist()]
    way.refined.take(refine(scan, way.images, starts, better >= 0, share=0.01), frames)
    # where that leads back to what was worse, the frame is not explained at all
    candidates = torch.stack([others[:, 0], starts], dim=1)
    (readings,) = judge.read(way.refined.poses)
    still = judge.better(readings, candidates, partners)[frames] >= 0
    way.refined.similarity[frames[still]] = 0.0


def _beside(frames: NDArray[np.int_], t: int) -> tuple[int, int]:
    """The nearest of some frames before and after; where there is none, frame t itself."""
    before, after = frames[frames < t], frames[frames > t]
    return int(before[-1]) if len(before) else t, int(after[0]) if len(after) else t

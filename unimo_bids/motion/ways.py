"""Ways to explain the frames of a series, and the choice among them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.judge import Judge, clear
from unimo_bids.motion.refinement import Refined
from unimo_bids.motion.results import Mode
from unimo_bids.motion.tracking import Track
from unimo_bids.spatial import rigid

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
    """

    refined: Refined
    images: Tensor
    track: Track

    def at_rest(self, center: Tensor) -> Way:
        """The same without motion; how far it was from that adds to the variance."""
        poses = self.refined.poses
        rest = torch.eye(4, dtype=torch.float64, device=poses.device).expand_as(poses).clone()
        rotation, shift = rigid.to_parameters(poses, center.expand(len(poses), 3))
        given_up = torch.cat([rotation, shift], dim=1)
        covariance = self.refined.covariance + given_up[:, :, None] * given_up[:, None, :]
        return replace(self, refined=replace(self.refined, poses=rest, covariance=covariance))


def best_way(
    judge: Judge, ways: dict[Mode, Way], center: Tensor, best: Mode
) -> tuple[Mode, Way, tuple[str, ...]]:
    """Choose the way under which frames agree best; another than `best` has to win clearly.

    So does rest, against all: a small motion that is as good as none stays. Returns also what was
    found, a sentence for each comparison that mattered.
    """
    poses = ways[best].refined.poses
    rest = torch.eye(4, dtype=torch.float64, device=poses.device).expand_as(poses)
    sets: dict[Mode, Tensor] = {mode: way.refined.poses for mode, way in ways.items()}
    readings = judge.read(*sets.values(), rest)
    agreed = dict(zip([*sets, "rest"], map(judge.agreement, readings), strict=True))
    first, findings = best, list[str]()
    for mode in ways:
        if mode != first:
            gain = _gain(agreed[mode], agreed[first])
            findings.append(compared(mode, first, *gain))
            if clear(*gain) and np.nanmean(agreed[mode]) > np.nanmean(agreed[best]):
                best = mode
    gain = _gain(agreed["rest"], agreed[best])
    if not clear(*gain):
        return best, ways[best], tuple(findings)
    findings.append(f"{compared('rest', best, *gain)} No motion is corrected.")
    return "rest", ways[best].at_rest(center), tuple(findings)


def _gain(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> tuple[float, float]:
    """By how much frames agree better, on average, nats, and the standard error of that."""
    gains = (ours - theirs)[np.isfinite(ours - theirs)]
    if len(gains) < 2:
        return 0.0, 0.0
    return float(gains.mean()), float(gains.std() / np.sqrt(len(gains)))


def compared(mode: Mode, other: Mode, gain: float, error: float) -> str:
    """Say how two ways compare."""
    how = "better" if clear(gain, error) else "no better"
    return (
        f"Frames agree {how} {_TOLD[mode]} than {_TOLD[other]} "
        f"(mutual information {gain:+.4f} ± {error:.4f} nats)."
    )

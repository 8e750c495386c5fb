"""Frames of one contrast, placed as a group beside the others.

Images made of all frames hold what is special to a group where the group is: an edge that a group
placed a little aside shows twice is then part of its contrast, and no residual tells. So each group
is compared with what the others show without it: their images, and the classes of intensity of
each of the other groups, any combination of which counts. How far its frames then move on average
is how far the group is beside the others. It is moved if that is beyond its error, unless its
frames then agree clearly worse by mutual information; moved or not, what stays unknown of it is a
part of the deviations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.contrast.changing import ROUNDS, refine_tied
from unimo_bids.motion.judge import Judge, clear, mean_gain
from unimo_bids.motion.refinement import refine
from unimo_bids.motion.scan import Scan
from unimo_bids.motion.template import robust_mean
from unimo_bids.motion.thresholds import GROUPS, QUALITY
from unimo_bids.motion.tracking import Track
from unimo_bids.motion.ways import Way
from unimo_bids.registration.contrast import leading_images, tissue_images
from unimo_bids.spatial import rigid

_MOVED = (
    "Frames of one contrast were beside the others as a group, by up to {:.2f} mm, and were moved."
)
_UNKNOWN = (
    "How far frames of one contrast are beside the others as a group is known to {:.1f} mm (one "
    "deviation): their deviations are as wide as that."
)

Group = NDArray[np.int_]  # of frames


@dataclass(frozen=True)
class Offset:
    """Small motion (rad, mm) ``(6,)`` by which a group is beside the others; its covariance."""

    motion: Tensor
    covariance: Tensor

    def likely(self, radius: float) -> Offset:
        """What of it is to be expected, if a group may be so far off in any direction.

        What is not known well is believed in part, and not taken for known.
        """
        to_mm = torch.tensor([radius] * 3 + [1.0] * 3).to(self.motion)
        usual = torch.diag((self.motion * to_mm).square().mean() / to_mm**2)
        gain = torch.linalg.solve(usual + self.covariance, usual).mT
        return Offset(gain @ self.motion, gain @ self.covariance)

    @property
    def beyond_error(self) -> float:
        """How far, in squares of its deviations."""
        return float(self.motion @ torch.linalg.solve(self.covariance, self.motion))


def groups_of(scan: Scan, poses: Tensor, good: NDArray[np.bool_]) -> list[Group]:
    """Frames of one contrast each, the largest group first; none if all are of one."""
    # a tenth of a second, and few series have contrasts
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    frames = np.flatnonzero(good)
    if len(frames) < GROUPS.fewest:
        return []
    chunks = scan.frames.chunks(frames.tolist())
    level, evened = scan.coarse.level, scan.evened()
    images = torch.cat([level.image(evened(chunk)) for chunk in chunks])
    values = scan.read_coarse(images, poses[frames.tolist()])
    apart = np.clip(1 - np.corrcoef(values.cpu().numpy()), 0, 2)
    np.fill_diagonal(apart, 0)
    tree = linkage(squareform(apart, checks=False), "average")
    label = fcluster(tree, 1 - GROUPS.alike, "distance")
    found = [frames[label == one] for one in np.unique(label)]
    return sorted(found, key=len, reverse=True) if len(found) > 1 else []


class Grouped:
    """The groups of a series of changing contrast.

    Parameters
    ----------
    poses
        ``(T, 4, 4)`` of the frames, which change as groups are moved.
    good
        ``(T,)`` frames that these explain.
    """

    def __init__(self, scan: Scan, poses: Tensor, good: NDArray[np.bool_]) -> None:
        self.scan, self.poses = scan, poses.clone()
        self.frames = scan.evened()
        self.chosen = np.array(scan.spread(good))
        self.aligned = scan.aligned(self.poses, self.chosen.tolist(), self.frames)
        self.groups = groups_of(scan, self.poses, good)

    def images_without(self, group: Group) -> Tensor:
        """What frames of the other groups show, ``(J, X, Y, Z)``."""
        scan = self.scan
        others = self.aligned[~np.isin(self.chosen, group)]
        mean = robust_mean(others)
        parts = [leading_images(others, mean, scan.weights, min(GROUPS.images, len(others) // 3))]
        for kind in self.groups[: GROUPS.partners + 1]:
            members = np.isin(self.chosen, kind)
            if kind is not group and members.any():
                shown = torch.nan_to_num(robust_mean(self.aligned[members]))
                parts.append(tissue_images(shown, scan.weights))
        around = self.frames([scan.reference])[0]
        more = scan.placed(torch.nan_to_num(torch.cat(parts)), torch.zeros_like(around))
        return torch.cat([scan.placed(mean[None], around), more])

    def beside(self, group: Group) -> Offset:
        """How far a group is beside the others."""
        frames = group[:: max(1, len(group) // GROUPS.looked_at)][: GROUPS.looked_at]
        wanted = np.isin(np.arange(len(self.poses)), frames)
        found = refine(self.scan, self.images_without(group), self.poses, wanted, even=True)
        rows = frames.tolist()
        small = rigid.inverse(self.poses[rows]) @ found.poses[rows]
        center = self.scan.head.center.to(small).expand(len(rows), 3)
        moved = torch.cat(rigid.to_parameters(small, center), dim=1).median(dim=0).values
        return Offset(moved, GROUPS.wider**2 * found.covariance[rows].mean(dim=0))

    def changed(self, group: Group) -> NDArray[np.bool_]:
        """Frames ``(T,)`` whose place relative to the reference a group's place changes."""
        among = np.isin(np.arange(len(self.poses)), group)
        return among != among[self.scan.reference]

    def moved(self, group: Group, offset: Offset) -> Tensor:
        """Poses ``(T, 4, 4)`` with a group moved by that."""
        poses, rows = self.poses.clone(), group.tolist()
        small = offset.motion[None]
        back = rigid.from_parameters(
            small[:, :3], small[:, 3:], self.scan.head.center.to(small)[None]
        )
        poses[rows] = poses[rows] @ back
        return poses

    def move(self, poses: Tensor) -> None:
        """Take over poses."""
        self.poses = poses
        self.aligned = self.scan.aligned(poses, self.chosen.tolist(), self.frames)


def place_groups(scan: Scan, judge: Judge, way: Way) -> tuple[Way, str]:
    """Move groups that are beside the others; say so, if any.

    What is not known of a group's place, and what was found of it without being believed, is added
    to the covariance of all frames whose place relative to the reference it changes.
    """
    poses, similarity = way.refined.poses, way.refined.similarity
    good = scan.usable & (np.nan_to_num(similarity) >= QUALITY.never_failed)
    good[scan.reference] = True
    grouped = Grouped(scan, poses, good)
    unknown = torch.zeros(len(poses), 6, 6, dtype=poses.dtype, device=poses.device)
    # what most frames show is where the others belong; a frame alone has nothing to share
    movable = [one for one in grouped.groups if GROUPS.fewest <= len(one) <= good.sum() / 2]
    offsets: list[Offset] = []
    while movable:
        offsets = [grouped.beside(group) for group in movable]
        first = int(np.argmax([one.beyond_error for one in offsets]))
        group, likely = movable[first], offsets[first].likely(scan.head.radius)
        trial = grouped.moved(group, likely)
        if offsets[first].beyond_error < GROUPS.beyond or _agree_worse(
            judge, grouped, trial, group
        ):
            break
        grouped.move(trial)
        unknown[grouped.changed(group)] += likely.covariance
        del movable[first], offsets[first]
    for group, offset in zip(movable, offsets, strict=True):
        likely = offset.likely(scan.head.radius)
        given_up = likely.motion[:, None] * likely.motion
        unknown[grouped.changed(group)] += likely.covariance + given_up
    told = []
    if not torch.equal(grouped.poses, poses):
        way = refine_tied(scan, Track(grouped.poses, similarity, way.track.searched), ROUNDS[-1:])
        furthest = rigid.displacement(grouped.poses, poses, scan.head.surface()).mean(dim=-1).max()
        told.append(_MOVED.format(float(furthest)))
    widest = float(unknown[:, 3:, 3:].diagonal(dim1=1, dim2=2).sum(dim=1).max().sqrt())
    if widest > GROUPS.unknown:
        told.append(_UNKNOWN.format(widest))
    return replace(way, unknown=unknown), " ".join(told)


def _agree_worse(judge: Judge, grouped: Grouped, trial: Tensor, group: Group) -> bool:
    ours, theirs = (judge.agreement(one)[group] for one in judge.read(trial, grouped.poses))
    gain, error = mean_gain(ours, theirs)
    return clear(-gain, error)

"""One judge of poses that knows nothing of how they were found.

Frames of one head show the same anatomy, whatever their contrast: at the right poses, what one
frame shows at a place tells most about what another shows there. So every frame is compared with
others of its series, each read at its own pose, by mutual information. There is no template that
one set of poses would have made for itself, and no intensity model that could bend.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.frames import Frames
from unimo_bids.motion.levels import make_level
from unimo_bids.motion.masks import Head
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grids import voxel_centers, voxel_sizes

_POINTS = 8_000
_BINS = 16  # of equal population: ranks are the same in any monotonous contrast
_PARTNERS = 8  # frames that each is compared with
_CLEAR = 2.0  # standard errors over frames by which a more flexible model has to win


@dataclass(frozen=True)
class Readings:
    """All frames at the points of the head: classes ``(T, N)``, and where each was in view."""

    classes: Tensor
    seen: Tensor


class Judge:
    """Compare sets of poses of one series.

    Parameters
    ----------
    affine
        Of the frames.
    head
        In the reference; its inside is looked at.
    usable
        ``(T,)`` frames that hold an image.
    """

    def __init__(
        self, frames: Frames, affine: Tensor, head: Head, usable: NDArray[np.bool_]
    ) -> None:
        self.frames, self.usable = frames, usable
        # a voxel's width of blur: on and off the voxels' centres, noise weighs about the same
        self.level = make_level(
            frames.shape, affine, blur=float(voxel_sizes(affine).max()), device=frames.device
        )
        inside = head.weights.flatten() > 0.5
        places = voxel_centers(frames.shape, frames.device)[inside]
        chosen = places[:: max(1, len(places) // _POINTS)]
        self.points = rigid.transform(affine.to(chosen), chosen).double()
        self.partners = _partners(np.flatnonzero(usable))

    def read(self, poses: Tensor) -> Readings:
        """What every frame shows at the head's points through its pose."""
        count, n = self.frames.count, len(self.points)
        classes = torch.zeros((count, n), dtype=torch.int64, device=self.points.device)
        seen = torch.zeros((count, n), dtype=torch.bool, device=self.points.device)
        back = torch.linalg.inv(self.level.affine).to(self.points)
        for chunk in self.frames.chunks(np.flatnonzero(self.usable).tolist()):
            rows = list(chunk)
            indices = rigid.transform(back @ poses[rows].to(back), self.points).float()
            values = self.level.sample(self.level.sampled(self.frames(rows))[:, None], indices)
            view = self.level.validity(indices) > 0.5
            for row, value, in_view in zip(rows, values[:, 0], view, strict=True):
                classes[row] = _ranked(value, in_view)
                seen[row] = in_view
        return Readings(classes, seen)

    def prefers(self, poses: Tensor, plain: Tensor) -> bool:
        """Whether poses under a more flexible model agree clearly better than the plain ones."""
        ours, theirs = (self.agreement(self.read(one)) for one in (poses, plain))
        gain = (ours - theirs)[self.usable]
        return bool(gain.mean() > _CLEAR * gain.std() / np.sqrt(len(gain)))

    def agreement(self, readings: Readings) -> NDArray[np.float64]:
        """Mutual information of every frame with its partners, nats, ``(T,)``; NaN: unusable."""
        out = np.full(self.frames.count, np.nan)
        for t, partners in self.partners.items():
            out[t] = np.mean([_information(readings, t, other) for other in partners])
        return out


def _partners(usable: NDArray[np.int_]) -> dict[int, list[int]]:
    """Of each usable frame: those next to it, and some from the whole series."""
    partners = {}
    for place, t in enumerate(usable.tolist()):
        near = [usable[p] for p in (place - 1, place + 1) if 0 <= p < len(usable)]
        spread = np.linspace(0, len(usable) - 1, _PARTNERS).round().astype(int)
        far = [usable[(place + s) % len(usable)] for s in spread]
        partners[t] = sorted({int(one) for one in (*near, *far)} - {t})
    return partners


def _ranked(values: Tensor, seen: Tensor) -> Tensor:
    """Classes of equal population among what is in view, ``(N,)``."""
    inside = values[seen]
    if len(inside) < _BINS:
        return torch.zeros_like(values, dtype=torch.int64)
    edges = torch.quantile(inside, torch.linspace(0, 1, _BINS + 1)[1:-1].to(inside))
    return torch.bucketize(values, edges)


def _information(readings: Readings, one: int, other: int) -> float:
    both = readings.seen[one] & readings.seen[other]
    pairs = readings.classes[one][both] * _BINS + readings.classes[other][both]
    joint = torch.bincount(pairs, minlength=_BINS**2).double().reshape(_BINS, _BINS)
    joint = joint / joint.sum().clamp(min=1)
    alone = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    return float(torch.where(joint > 0, joint * (joint / alone.clamp(min=1e-30)).log(), 0.0).sum())

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
from unimo_bids.motion.thresholds import JUDGE
from unimo_bids.registration.levels import make_level
from unimo_bids.registration.resolution import mixed, mostly_own
from unimo_bids.registration.thresholds import RESOLUTION
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import voxel_centers
from unimo_bids.spatial.region import Region

_POINTS = 8_000
_BINS = 16  # of equal population: ranks are the same in any monotonous contrast
_UNSEEN = _BINS  # the class of what is out of view
PARTNERS = 8  # frames that each is compared with

Partners = dict[int, list[int]]  # of each frame


@dataclass(frozen=True)
class Readings:
    """All frames at the points of the head: classes ``(T, N)`` uint8, `_UNSEEN` out of view."""

    classes: Tensor

    def information(self, classes: Tensor, others: list[int]) -> NDArray[np.float64]:
        """Mutual information of a frame, read in R ways ``(R, N)``, with P others, nats ``(R, P)``.

        All pairs are counted in one pass.
        """
        pairs = classes[:, None].int() * (_BINS + 1) + self.classes[others]
        cells = (_BINS + 1) ** 2
        table = torch.arange(pairs[..., 0].numel(), dtype=torch.int32, device=pairs.device)
        pairs += cells * table.reshape(*pairs.shape[:2], 1)
        counts = torch.bincount(pairs.flatten(), minlength=cells * len(table)).double()
        joint = counts.reshape(*pairs.shape[:2], _BINS + 1, _BINS + 1)[..., :_BINS, :_BINS]
        count = joint.sum(dim=(2, 3))
        joint = joint / count.clamp(min=1)[..., None, None]
        alone = joint.sum(dim=3, keepdim=True) * joint.sum(dim=2, keepdim=True)
        terms = joint * (joint / alone.clamp(min=1e-30)).log()
        found = torch.where(joint > 0, terms, 0.0).sum(dim=(2, 3))
        # less what chance finds in so few points, and less where little of the head is in view
        chance = (_BINS - 1) ** 2 / (2 * count.clamp(min=1))
        in_view = (count / (0.5 * classes.shape[1])).clamp(max=1)
        return np.asarray(((found - chance).clamp(min=0) * in_view).cpu())


class Judge:
    """Compare sets of poses of one series.

    Parameters
    ----------
    head
        In the reference; its inside is looked at.
    usable
        ``(T,)`` frames that hold an image.
    """

    def __init__(self, frames: Frames, head: Region, usable: NDArray[np.bool_]) -> None:
        self.frames, self.usable = frames, usable
        # a voxel's width of blur, if the head allows it: on and off the voxels' centres, noise
        # weighs about the same
        edges = RESOLUTION.blur if mixed(head) else 1.0
        self.level = make_level(frames.grid, blur=edges * frames.grid.widest, device=frames.device)
        weights = mostly_own(self.level.image(head.weights)) if mixed(head) else head.weights
        inside = weights.flatten() > 0.5
        places = voxel_centers(frames.grid.shape, frames.device)[inside]
        chosen = places[:: max(1, len(places) // _POINTS)]
        # beside the voxels' centres: on them, noise would not be averaged, and rest would differ
        # from a small motion by that alone
        chosen = chosen + _scattered(len(chosen)).to(chosen)
        self.points = rigid.transform(frames.grid.affine.to(chosen), chosen).double()
        self.partners = _partners(np.flatnonzero(usable))

    def read(self, *sets: Tensor) -> list[Readings]:
        """What every frame shows at the head's points through its pose in each of the sets."""
        shape = self.frames.count, len(self.points)
        read = [
            Readings(torch.full(shape, _UNSEEN, dtype=torch.uint8, device=self.points.device))
            for _ in sets
        ]
        for chunk in self.frames.chunks(np.flatnonzero(self.usable).tolist()):
            images = self.level.sampled(self.frames(chunk))
            for t, image in zip(chunk, images, strict=True):
                found = self._look(image, torch.stack([poses[t] for poses in sets]))
                for one, classes in zip(read, found, strict=True):
                    one.classes[t] = classes
        return read

    def _look(self, image: Tensor, poses: Tensor) -> Tensor:
        """Classes ``(P, N)`` of one frame through each of P poses."""
        to_index = self.level.grid.to_index.to(self.points) @ poses.to(self.points)
        indices = rigid.transform(to_index, self.points).float()
        values = self.level.sample(image.expand(len(poses), 1, -1, -1, -1), indices)[:, 0]
        seen = self.level.validity(indices) > 0.5
        classes = [_ranked(*one) for one in zip(values, seen, strict=True)]
        return torch.stack(classes).masked_fill(~seen, _UNSEEN)

    def agreement(self, readings: Readings) -> NDArray[np.float64]:
        """Mutual information of every frame with its partners, nats, ``(T,)``; NaN: unusable."""
        out = np.full(self.frames.count, np.nan)
        for t, partners in self.partners.items():
            out[t] = readings.information(readings.classes[t, None], partners).mean()
        return out

    def gain(self, poses: Tensor, plain: Tensor) -> tuple[float, float]:
        """Nats by which frames agree better under these poses, and the error of that."""
        ours, theirs = (self.agreement(one) for one in self.read(poses, plain))
        return mean_gain(ours, theirs)

    def better(
        self, readings: Readings, others: Tensor, partners: Partners | None = None
    ) -> NDArray[np.int_]:
        """Which of other poses of a frame clearly suits it better, ``(T,)``; -1: none.

        Each is compared with its partners as they are.

        Parameters
        ----------
        readings
            Of the frames at their poses.
        others
            ``(T, P, 4, 4)``
        partners
            Of the frames that are asked, if they are not all.
        """
        partners = self.partners if partners is None else partners
        found = np.full(len(others), -1)
        for chunk in self.frames.chunks(list(partners)):
            images = self.level.sampled(self.frames(chunk))
            for t, image in zip(chunk, images, strict=True):
                classes = torch.cat([readings.classes[t, None], self._look(image, others[t])])
                own, *found_there = readings.information(classes, partners[t])
                gains = np.array(found_there) - own
                best = int(np.argmax(gains.mean(axis=1)))
                gain = gains[best]
                error = max(
                    float(gain.std() / np.sqrt(len(gain))), JUDGE.gain * own.mean() / JUDGE.clear
                )
                if clear(float(gain.mean()), error):
                    found[t] = best
        return found


def mean_gain(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> tuple[float, float]:
    """By how much one set of poses agrees better than another, on average, nats, and the error.

    The error is the standard error over frames, or half a percent: the judge tells no finer.
    """
    gains = ours - theirs
    gains = gains[np.isfinite(gains)]
    if len(gains) == 0:
        return 0.0, 0.0
    by_chance = float(gains.std() / np.sqrt(len(gains)))
    return float(gains.mean()), max(by_chance, JUDGE.gain / JUDGE.clear * float(np.nanmean(theirs)))


def gain_across(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> tuple[float, float]:
    """The same across contrasts, where poses that are drawn aside together agree better as well."""
    gain, error = mean_gain(ours, theirs)
    return gain, max(error, JUDGE.tied / JUDGE.clear * float(np.nanmean(theirs)))


def clear(gain: float, error: float) -> bool:
    """Whether a gain is more than chance."""
    return gain > JUDGE.clear * error


def _scattered(count: int) -> Tensor:
    """Places within a voxel, evenly spread, ``(count, 3)`` in -0.5 … 0.5 (Roberts 2018)."""
    golden = 1.2207440846057596  # x⁴ = x + 1
    steps = golden ** -torch.arange(1, 4, dtype=torch.float64)
    return (torch.arange(1, count + 1, dtype=torch.float64)[:, None] * steps) % 1 - 0.5


def _partners(usable: NDArray[np.int_]) -> Partners:
    """Of each usable frame: those next to it, and some from the whole series."""
    partners = {}
    for place, t in enumerate(usable.tolist()):
        near = [usable[p] for p in (place - 1, place + 1) if 0 <= p < len(usable)]
        spread = np.linspace(0, len(usable) - 1, PARTNERS).round().astype(int)
        far = [usable[(place + s) % len(usable)] for s in spread]
        partners[t] = sorted({int(one) for one in (*near, *far)} - {t})
    return {t: others for t, others in partners.items() if others}


def _ranked(values: Tensor, seen: Tensor) -> Tensor:
    """Classes of equal population among what is in view, ``(N,)``."""
    inside = values[seen]
    if len(inside) < _BINS:
        return torch.zeros_like(values, dtype=torch.uint8)
    # `torch.quantile`, whose sort takes four times as long
    ordered = torch.from_numpy(np.sort(inside.cpu().numpy())).to(inside)
    place = torch.linspace(0, 1, _BINS + 1)[1:-1].to(inside) * (len(inside) - 1)
    below, above = ordered[place.floor().long()], ordered[place.ceil().long()]
    edges = torch.lerp(below, above, place - place.floor())
    return torch.bucketize(values, edges).to(torch.uint8)

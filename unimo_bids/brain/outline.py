"""Where a brain may be: a place, a region, and its outline as *segment* sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from unimo_bids.brain.mask import ball_radius, solidity
from unimo_bids.brain.thresholds import CANDIDATES, RANKING
from unimo_bids.spatial.boxes import Box


@dataclass(frozen=True)
class Place:
    """Where a brain may be: its centre, mm from the first voxel along the axes, and size, ml."""

    center: NDArray[np.float64]
    volume: float
    confidence: float

    @property
    def odds(self) -> float:
        """That it is a brain."""
        return self.confidence / max(1 - self.confidence, 1e-6)

    def about_as_likely(self, other: Place) -> bool:
        """Whether it is a brain, and not much less likely than another."""
        near = self.odds > other.odds / RANKING.rival_odds
        return self.confidence > RANKING.rival and near

    def twin(self, other: Place) -> bool:
        """Whether it is beside another, and not far smaller."""
        apart = float(np.linalg.norm(self.center - other.center))
        beside = apart > ball_radius(self.volume) + 0.5 * ball_radius(other.volume)
        return beside and self.volume > other.volume / RANKING.rival_size


@dataclass(frozen=True)
class Region:
    """A connected region: its centre, mm from the volume's first voxel, and volume, ml."""

    center: NDArray[np.float64]
    volume: float

    @property
    def radius(self) -> float:
        """Of a ball of the same volume, mm."""
        return ball_radius(self.volume)

    def distance(self, other: Region) -> float:
        """From centre to centre, mm."""
        return float(np.linalg.norm(self.center - other.center))

    def like(self, other: Region) -> bool:
        """Whether a box made for one shows the other well."""
        near = self.distance(other) < CANDIDATES.off_center * self.radius
        return near and 1 / CANDIDATES.off_size < self.radius / other.radius < CANDIDATES.off_size


@dataclass(frozen=True)
class Outline:
    """A region as *segment* sees it: where it is in the probability on a box made for another.

    `features` are what *recognise* judges it by, `odds` the logarithm of those that it is a brain.
    """

    region: Region
    before: Region
    box: Box
    probability: NDArray[np.float32]
    inside: NDArray[np.bool_]
    features: Tensor
    odds: float

    def near(self, place: NDArray[np.float64]) -> bool:
        """Whether a place is within the outline, or hardly outside."""
        return float(np.linalg.norm(place - self.region.center)) < 1.3 * self.region.radius

    def holds(self, other: Region) -> bool:
        """Whether a region is in the outline, and smaller than one whose box shows it all."""
        first = self.box.place(np.zeros(3))
        index = np.round((other.center - first) / self.box.spacing).astype(int)
        if (index < 0).any() or (index >= self.inside.shape).any():
            return False
        return bool(self.inside[tuple(index)]) and (
            other.radius * CANDIDATES.off_size < self.region.radius
        )

    @property
    def sure(self) -> bool:
        """Whether it is more likely a brain than not, and its box shows all of it."""
        faces = (self.inside.take(end, axis).any() for axis in range(3) for end in (0, -1))
        return self.odds > RANKING.sure and self.region.like(self.before) and not any(faces)

    @property
    def place(self) -> Place:
        """Where it is, and how likely it is a brain."""
        chance = float(1 / (1 + np.exp(-self.odds)))
        return Place(self.region.center, self.region.volume, chance)

    @property
    def worth(self) -> float:
        """What outlines are ranked by, up to what their agreement adds."""
        return self.score + self.odds / RANKING.score

    @cached_property
    def score(self) -> float:
        """How clear and solid it is, and how well the box was made for it, 0 to 1."""
        clear = float(self.probability[self.inside].mean())
        off = np.log(self.region.radius / self.before.radius) / RANKING.wrong_size
        return clear * solidity(self.inside, (1.0,) * 3) * float(np.exp(-0.5 * off**2))

    def written(self, shape: Sequence[int], sizes: Sequence[float]) -> NDArray[np.float32]:
        """Probability on a volume's voxels; 0 in other regions, 1 in holes."""
        elsewhere = (self.probability > 0.5) & ~self.inside
        near = ndimage.binary_dilation(self.inside, iterations=2) & ~elsewhere
        chosen = np.where(near, self.probability, 0)
        chosen[ndimage.binary_fill_holes(self.inside) & ~self.inside] = 1
        return self.box.write(torch.from_numpy(chosen), shape, sizes).numpy()

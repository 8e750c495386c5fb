"""Voxels that are large beside the head: what they show is mixed with what is around it.

Aliasing asks for a blur of most of a voxel, and thick slices for as much along the other axes. In
slices of 9 mm that is a fifth of a fetal head's radius: where its surroundings rest, they reach
into the head, and hold its poses back. Less blur, and less of the rim, costs some noise.
"""

from __future__ import annotations

from torch import Tensor

from unimo_bids.registration.thresholds import RESOLUTION
from unimo_bids.spatial.region import Region


def mixed(head: Region) -> bool:
    """Whether voxels are so large that blur mixes much of the head with its surroundings."""
    return head.grid.widest > RESOLUTION.large * head.radius


def mostly_own(weights: Tensor) -> Tensor:
    """Weights 0 … 1 of places, by how much of what they show is the head's own.

    Parameters
    ----------
    weights
        A soft mask of the head, less where it is not steady, at the resolution of the images.
    """
    share = weights / weights.max().clamp(min=1e-6)
    return ((share - RESOLUTION.own) / (1 - RESOLUTION.own)).clamp(min=0)

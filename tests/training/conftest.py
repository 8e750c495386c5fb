"""Objects small enough to render in milliseconds."""

from __future__ import annotations

import numpy as np
import pytest

from unimo_bids.training.anatomies import IN_BRAIN, Kind, Packed


def ball(kind: Kind, radius: float, held_back: bool = False) -> Packed:
    """A brain (label 1) in a skull (2) as balls, 2 mm voxels; surroundings are all label 1."""
    many = 2 * int(radius / 2 + 6) + 1
    axes = np.meshgrid(*(2.0 * (np.arange(many) - many // 2),) * 3, indexing="ij")
    distance = np.sqrt(sum(a**2 for a in axes))
    labels = np.zeros(distance.shape, dtype=np.uint8)
    if kind == "surroundings":
        labels[distance > radius] = 1
        labels = np.pad(labels, 40, constant_values=1)
    else:
        labels[distance < radius + 6] = 2
        labels[distance < radius] = 1 + IN_BRAIN
    return Packed(
        labels=labels,
        voxel_mm=2.0,
        origin=(np.array(labels.shape) - 1) / 2.0,
        intensities=np.array([0, 1000, 100], dtype=np.float32),
        kind=kind,
        name=f"{kind} ball",
        radius=radius,
        held_back=held_back,
    )


@pytest.fixture(scope="session")
def balls() -> list[Packed]:
    """One of each kind to train on, and one held back."""
    return [
        ball(kind, radius, held_back)
        for kind, radius in (("adult", 68.0), ("fetal", 40.0), ("surroundings", 48.0))
        for held_back in (False, True)
    ]

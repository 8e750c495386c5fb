"""Rendered volumes: what is in them is where the truth says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unimo_bids.simulation.fetal import CORTEX, FLUID
from unimo_bids.training import scenes
from unimo_bids.training.anatomies import IN_BRAIN
from unimo_bids.training.scenes import SCENERIES, Scenes, with_more_fluid


@pytest.mark.slow
@pytest.mark.parametrize("scenery", SCENERIES)
def test_volumes_are_finite_and_brains_are_of_their_size(balls, scenery):
    drawn = Scenes(balls)
    sizes = []
    for seed in range(12):
        example = drawn.draw(np.random.default_rng([5, seed]), scenery)
        assert example.image.shape == example.brain.shape
        assert torch.isfinite(example.image).all()
        assert example.image.min() >= 0
        assert float(example.brain.min()) >= 0
        assert float(example.brain.max()) < 1.01
        sizes.append(float(example.brain.sum()) * np.prod(example.sizes) / 1000)
    if scenery == "none":
        assert max(sizes) == 0
        return
    # ml of the ball, at 0.88 to 1.12 of its size (twins: twice); slabs and cut heads have less
    low, high = {"fetal": (180, 800), "infant": (180, 1100), "adult": (950, 1800)}[scenery]
    assert low < max(sizes) < high
    assert np.median(sizes) > low / 3


def test_the_brain_is_where_the_image_shows_it(balls):
    """A bright ball in a dark shell, in air: bright voxels are the brain's."""
    drawn = Scenes([thing for thing in balls if thing.kind == "adult"])
    agreement = []
    for seed in range(20):
        example = drawn.draw(np.random.default_rng([6, seed]), "adult")
        brain = example.brain > 0.5
        if not brain.any() or brain.all():
            continue
        inside, outside = example.image[brain].median(), example.image[~brain].median()
        bright = (example.image - outside).abs() > (example.image - inside).abs()
        agreement.append(float((bright == brain).float().mean()))
    assert len(agreement) > 15
    assert np.median(agreement) > 0.9


def test_some_scans_in_utero_have_small_voxels_in_thick_slices(monkeypatch):
    monkeypatch.setattr(scenes, "_FINE", 1.0)
    for seed in range(20):
        grid = scenes._draw_grid(np.random.default_rng(seed), "fetal", 35.0)
        within = [size for axis, size in enumerate(grid.sizes) if axis != grid.slices]
        assert 1.4 <= within[0] == within[1] <= 2
        assert 3 <= grid.sizes[grid.slices] <= 4.5
        assert grid.extent[0] < 331


def test_a_brain_with_more_fluid_is_smaller_within_the_same_skull():
    axes = np.meshgrid(*[np.arange(60) - 29.5] * 3, indexing="ij")
    far = np.sqrt(sum(axis**2 for axis in axes))
    labels = np.where(far < 20, IN_BRAIN + CORTEX, np.where(far < 22, IN_BRAIN + FLUID, 0))
    given = torch.from_numpy(labels.astype(np.uint8))
    more = with_more_fluid(given, 2)
    assert torch.equal(more >= IN_BRAIN, given >= IN_BRAIN)
    radius = (3 * float((more == IN_BRAIN + CORTEX).sum()) / (4 * np.pi)) ** (1 / 3)
    assert 16.5 < radius < 18  # by a cube: somewhat more than 2

"""The recipe of the deformation network, from pack to model card."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unimo_bids.deformation.shape import rigid_part
from unimo_bids.networks.deformation import DeformationNetwork
from unimo_bids.networks.weights import load_weights
from unimo_bids.spatial import rigid
from unimo_bids.training import deform
from unimo_bids.training.loop import Schedule
from unimo_bids.training.packing import pack
from unimo_bids.training.recipe import follow
from unimo_bids.training.scanner import Grid


@pytest.mark.slow
def test_the_recipe_resumes_and_leaves_weights_that_load_and_a_card(balls, tmp_path, monkeypatch):
    monkeypatch.setattr(deform, "_TRIALS", dict(list(deform._TRIALS.items())[:1]))
    pack(balls, tmp_path / "pack.npz")
    options = {"batch": 1, "validation": 2}
    said = follow(
        deform.RECIPE, tmp_path / "pack.npz", tmp_path, Schedule(2), minutes=0.0, **options
    )
    assert "time is up" in said
    tables = follow(deform.RECIPE, tmp_path / "pack.npz", tmp_path, Schedule(2), **options)
    assert "| fetal, tissue |" in tables
    load_weights(DeformationNetwork(), tmp_path / "deform.safetensors")
    card = (tmp_path / "deform.md").read_text()
    assert tables in card
    assert "2 steps of 1 pairs, seed 0" in card


def test_what_is_said_to_be_the_displacement_is_it(balls):
    pair = deform.Bendings(balls).draw(
        np.random.default_rng(4), "tissue", what="organ", clean=True, other_contrast=False
    )
    found = torch.nn.functional.avg_pool3d(pair.displacement, 2)[None]
    images = torch.nn.functional.avg_pool3d(pair.images, 2)
    carried = deform._carried(images[None, 1:], found)[0, 0]
    inside = torch.nn.functional.avg_pool3d(pair.masks, 2)[0] > 0.9

    def unlike(moving: torch.Tensor) -> float:
        return float((images[0] - moving)[inside].square().mean())

    assert unlike(carried) < 0.5 * unlike(images[1])


@pytest.mark.parametrize("kind", ["tissue", "epi"])
def test_pairs_hold_no_rigid_motion_and_are_repeatable(balls, kind):
    first, again = (
        deform.Bendings(balls).draw(np.random.default_rng(5), kind, what="fetal", clean=True)
        for _ in range(2)
    )
    assert torch.equal(first.images, again.images)
    points = torch.stack(torch.meshgrid(*[torch.arange(60.0)] * 3, indexing="ij")).flatten(1).mT
    moved = points + first.displacement.flatten(1).mT
    pose = rigid_part(points.double(), moved.double(), first.masks[0].flatten().double())
    inside = points[first.masks[0].flatten() > 0.5].double()
    away = (rigid.transform(pose, inside) - inside).norm(dim=1).mean()
    assert float(away) < 0.1 * float(first.displacement.norm(dim=0).max())


def test_epi_bends_along_one_axis_and_keeps_signal():
    grid = Grid((40, 40, 40), (3.0, 3.0, 3.0), 2)
    for seed in range(4):
        bent, squeeze = deform.bending(
            grid, "epi", 40.0, np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        )
        moved = [axis for axis in range(3) if float(bent[axis].abs().max()) > 0]
        assert len(moved) == 1
        assert float(torch.as_tensor(squeeze).min()) > 0.25


def test_losses_and_their_gradients_are_finite(balls):
    torch.manual_seed(0)
    network = DeformationNetwork()
    batch = deform.draw(deform.Bendings(balls), 1, np.random.default_rng(0))
    found = deform.losses(network, batch)
    torch.stack(list(found.values())).sum().backward()
    assert all(value.isfinite() for value in found.values())
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert len(gradients) > 10
    assert all(gradient.isfinite().all() for gradient in gradients)

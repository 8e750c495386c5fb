"""The recipe of the pose network, from pack to model card."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unimo_bids.networks.alignment import Representation
from unimo_bids.networks.pose import PoseNetwork
from unimo_bids.networks.weights import load_weights
from unimo_bids.spatial import rigid
from unimo_bids.training import pose
from unimo_bids.training.loop import Schedule
from unimo_bids.training.packing import pack
from unimo_bids.training.pairs import Pair, Pairs
from unimo_bids.training.recipe import follow


@pytest.mark.slow
def test_the_recipe_leaves_weights_that_load_and_a_card(balls, tmp_path, monkeypatch):
    monkeypatch.setattr(pose, "_CALIBRATION", 3)
    monkeypatch.setattr(pose, "_TRIALS", dict(list(pose._TRIALS.items())[:1]))
    pack(balls, tmp_path / "pack.npz")
    tables = follow(
        pose.RECIPE, tmp_path / "pack.npz", tmp_path, Schedule(2), batch=1, validation=2
    )
    for fusion in ("image", "shape", "information", "slerp"):
        assert f"| {fusion} |" in tables
    load_weights(PoseNetwork(), tmp_path / "pose.safetensors")
    card = (tmp_path / "pose.md").read_text()
    assert tables in card
    assert "2 steps of 1 pairs, seed 0" in card
    assert (tmp_path / "pose.safetensors").stat().st_size < 500_000


def test_losses_are_finite_where_masks_are_missing(balls):
    torch.manual_seed(0)
    network = PoseNetwork()
    pairs = Pairs(balls)
    drawn = [pairs.draw(np.random.default_rng(n), "organ", masked=n > 0) for n in range(2)]
    batch = (
        pose.prepared(drawn),
        torch.stack([pair.pose for pair in drawn]),
        torch.tensor([pair.masked for pair in drawn]),
    )
    found = pose.losses(network, batch)
    torch.stack(list(found.values())).sum().backward()
    assert all(value.isfinite() for value in found.values())
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_terms_at_the_truth_cost_nothing_if_they_are_spread():
    truth = rigid.from_parameters(torch.randn(2, 3), torch.randn(2, 3))
    points, vectors = 0.4 * torch.randn(2, 20, 3), torch.randn(2, 5, 3)
    fixed = Representation(points, vectors, torch.ones(2, 25))
    right = Representation(
        rigid.transform(truth, points), vectors @ truth[:, :3, :3].mT, torch.ones(2, 25)
    )
    counts = torch.ones(2)
    assert pose._terms(fixed, right, truth, counts) < 1e-4
    assert pose._terms(fixed, fixed, truth, counts) > 0.1
    narrow = Representation(0.01 * points, vectors, torch.ones(2, 25))
    moved = Representation(rigid.transform(truth, 0.01 * points), right.vectors, torch.ones(2, 25))
    assert pose._terms(narrow, moved, truth, counts) > 1


def test_confidence_is_calibrated_on_evidence_that_tells(balls, monkeypatch):
    rng = np.random.default_rng(0)
    told: list[tuple[float, bool]] = []

    def evidence(_network: PoseNetwork, pair: Pair) -> tuple[torch.Tensor, torch.Tensor]:
        telling = rng.standard_normal()
        right = rng.random() < 1 / (1 + np.exp(-3 * telling))
        told.append((telling, right))
        turned = pair.pose if right else -pair.pose
        return torch.tensor([[telling, *rng.standard_normal(2)]]), turned

    class AtRest(Pairs):
        def draw(self, *_args: object, **_options: object) -> Pair:
            nothing = torch.zeros(2, 1, 1, 1)
            return Pair(nothing, nothing, torch.eye(4).double(), True, "organ", 40.0)

    monkeypatch.setattr(pose, "_evidence", evidence)
    monkeypatch.setattr(pose, "_angle", lambda found, truth: 90.0 * bool((found != truth).any()))
    network = PoseNetwork()
    pose.calibrate(network, AtRest([]), 600)
    assert network.odds.weight[0, 0].item() == pytest.approx(3, abs=0.8)
    assert network.odds.weight[0, 1:].abs().max() < 0.5
    assert network.odds.bias.item() == pytest.approx(0, abs=0.4)

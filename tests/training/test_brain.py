"""The recipe of brain extraction, from pack to model card."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unimo_bids.brain.mask import ball_volume
from unimo_bids.brain.network import BrainNetworks, Recognise, segment_box
from unimo_bids.brain.outline import Outline, Region
from unimo_bids.networks.weights import load_weights
from unimo_bids.training import brain
from unimo_bids.training.loop import Schedule
from unimo_bids.training.packing import pack
from unimo_bids.training.recipe import follow
from unimo_bids.training.scenes import Example, Scenes


@pytest.mark.slow
def test_the_recipe_leaves_weights_that_load_and_a_card(balls, tmp_path, monkeypatch):
    monkeypatch.setattr(brain, "_LESSONS", 4)
    pack(balls, tmp_path / "pack.npz")
    table = follow(
        brain.RECIPE, tmp_path / "pack.npz", tmp_path, Schedule(2), batch=1, validation=6
    )
    assert table.startswith("| brain |")
    load_weights(BrainNetworks(), tmp_path / "brain.safetensors")
    card = (tmp_path / "brain.md").read_text()
    assert table in card
    assert "2 steps of 1 volumes, seed 0" in card
    assert (tmp_path / "brain.safetensors").stat().st_size < 4_000_000


def of_nobody(features, right):
    return brain.Lessons(features, right, ("",) * len(right))


def test_one_network_is_trained_and_the_other_is_left_alone(balls, monkeypatch):
    monkeypatch.setattr(brain, "WINDOW", 32)
    batch = brain.draw(Scenes(balls), 1, np.random.default_rng(0))
    for only in ("find", "segment"):
        trained = BrainNetworks()
        found = brain.losses(trained, batch, only)
        assert list(found) == [only]
        found[only].backward()
        grown = {name.split(".")[0] for name, p in trained.named_parameters() if p.grad is not None}
        assert grown == {only}


def test_the_loss_is_least_for_the_truth():
    truth = torch.zeros(1, 1, 16, 16, 16)
    truth[..., 4:12, 4:12, 4:12] = 1
    right = brain.segmentation_loss(20 * (truth - 0.5), truth)
    shifted = brain.segmentation_loss(20 * (truth.roll(1, 2) - 0.5), truth)
    nothing = brain.segmentation_loss(torch.full_like(truth, -10), truth)
    assert right < 0.01 < shifted < nothing


def test_recognise_learns_what_tells_brains_from_other_things():
    """Of 40 features one tells, another hardly; what is half right is not certain."""
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(3000, 40, generator=generator) * 5 + 20
    right = (features[:, 7] > 20).float()
    recognise = Recognise(40)
    brain.fit(recognise, of_nobody(features[:2500], right[:2500]))
    with torch.no_grad():
        answers = recognise(features[2500:])
    assert ((answers > 0) == (right[2500:] > 0.5)).float().mean() > 0.9
    weights = recognise.head.weight[0].detach().abs()
    assert weights.argmax() == 7
    unsure = Recognise(40)
    brain.fit(unsure, of_nobody(features[:2500], torch.full((2500,), 0.5)))
    with torch.no_grad():
        assert unsure(features).abs().max() < 0.05


def test_recognise_keeps_what_other_volumes_say_nothing_of():
    generator = torch.Generator().manual_seed(4)
    first, others = 5 * torch.randn(2, 1000, 40, generator=generator) + 20
    others[:, 7] = 30
    recognise = Recognise(40)
    brain.fit(recognise, of_nobody(first, (first[:, 7] > 20).float()))
    brain.fit(recognise, of_nobody(others, (others[:, 3] > 20).float()))
    more = torch.full((3, 40), 20.0)
    more[1, 7] = more[2, 3] = 30
    with torch.no_grad():
        answers = recognise(more)
    assert (answers[1:] > answers[0] + 1).all()


def test_what_a_fetus_teaches_can_be_left_out():
    """In its stacks a feature says the opposite: without them it is believed."""
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(2000, 40, generator=generator)
    own = torch.arange(2000) < 1200
    learned = brain.Lessons(
        features,
        ((features[:, 7] > 0) ^ own).float(),
        tuple("31 weeks" if one else "" for one in own.tolist()),
    )
    answers = []
    for some in (learned, learned.without("31 weeks")):
        recognise = Recognise(40)
        brain.fit(recognise, some)
        with torch.no_grad():
            answers.append(float(recognise(torch.eye(40)[7:8])))
    assert answers[0] < 0 < answers[1]


@pytest.mark.parametrize(("off", "low", "high"), [(0, 0.99, 1.0), (12, 0.3, 0.9), (90, 0, 0)])
def test_an_outline_is_as_right_as_it_overlaps_the_brain(off, low, high):
    axes = np.meshgrid(*(3.0 * np.arange(60),) * 3, indexing="ij")
    inside = sum((a - 80) ** 2 for a in axes) < 33**2
    example = Example(
        torch.zeros(60, 60, 60), torch.from_numpy(inside).float(), (3.0,) * 3, "fetal"
    )
    box = segment_box((80.0 + off, 80, 80), 33)
    places = np.stack(np.meshgrid(*(box.positions(a) for a in range(3)), indexing="ij"))
    drawn = sum((a - c) ** 2 for a, c in zip(places, box.center, strict=True)) < 33**2
    region = Region(np.array(box.center), ball_volume(33))
    outline = Outline(region, region, box, drawn.astype(np.float32), drawn, torch.zeros(1), 0.0)
    assert low <= brain._rightness(example, outline) <= high

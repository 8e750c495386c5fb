"""What is trained on."""

from __future__ import annotations

import torch
from torch import nn

from tests.training.conftest import ball
from unimo_bids.networks.weights import save_weights
from unimo_bids.training.recipe import _begin, _first


def test_few_of_each_kind_and_all_that_is_held_back():
    objects = [ball("adult", 60, held_back=n == 1) for n in range(4)] + [ball("fetal", 40)]
    kept = _first(objects, 2)
    assert [id(thing) for thing in kept] == [id(objects[n]) for n in (0, 1, 2, 4)]
    assert _first(objects, None) == objects


def test_training_begins_with_the_mean_of_weights_and_keeps_what_they_lack(tmp_path):
    for value in (1.0, 3.0):
        part = nn.ModuleDict({"a": nn.Linear(2, 2)})
        nn.init.constant_(part["a"].weight, value)
        save_weights(part, tmp_path / f"{value}.safetensors")
    whole = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    untouched = whole["b"].weight.clone()
    _begin(whole, sorted(tmp_path.glob("*.safetensors")))
    assert torch.equal(whole["a"].weight, torch.full((2, 2), 2.0))
    assert torch.equal(whole["b"].weight, untouched)

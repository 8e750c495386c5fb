"""Training that can be stopped at any time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unimo_bids.errors import InputError
from unimo_bids.training import loop
from unimo_bids.training.loop import Schedule, train


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Unflatten(1, (1, 3)),
        nn.Conv1d(1, 8, 3),  # its kernel is Muon's, all else is Adam's
        nn.Flatten(),
        nn.BatchNorm1d(8),
        nn.Tanh(),
        nn.Linear(8, 1),
    )


def _draw(rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(rng.standard_normal((16, 3))).float()


def _losses(
    network: nn.Module, seen: list[float] | None = None, stop_at: int | None = None
) -> Callable[[Tensor], dict[str, Tensor]]:
    calls = [0]

    def losses(x: Tensor) -> dict[str, Tensor]:
        if calls[0] == stop_at:
            raise KeyboardInterrupt
        calls[0] += 1
        if seen is not None:
            seen.append(float(x[0, 0]))
        return {"fit": (network(x)[:, 0] - x[:, 0]).square().mean()}

    return losses


def test_it_learns_and_logs(tmp_path):
    network = _network()
    averaged = train(network, _draw, _losses(network), Schedule(200), tmp_path, every=50)
    assert averaged is not None
    lines = [line.split("\t") for line in (tmp_path / loop.LOG).read_text().splitlines()]
    assert [line[0] for line in lines] == ["step", "50", "100", "150", "200"]
    assert lines[0][-1] == "fit"
    assert float(lines[-1][-1]) < 0.9 * float(lines[1][-1])


def test_an_interrupted_run_ends_as_an_undisturbed_one(tmp_path):
    schedule = Schedule(30, seed=3)
    whole = _network()
    undisturbed = train(whole, _draw, _losses(whole), schedule, tmp_path / "whole", every=10)
    first = _network()
    with pytest.raises(KeyboardInterrupt):
        train(first, _draw, _losses(first, stop_at=17), schedule, tmp_path / "cut", every=10)
    second, seen = _network(), list[float]()
    resumed = train(second, _draw, _losses(second, seen), schedule, tmp_path / "cut", every=10)
    assert undisturbed is not None
    assert resumed is not None
    assert len(seen) == 20  # from the checkpoint at step 10
    for a, b in zip(undisturbed.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_time_that_is_up_leaves_a_checkpoint(tmp_path):
    network = _network()
    assert train(network, _draw, _losses(network), Schedule(50), tmp_path, minutes=0.0) is None
    again, seen = _network(), list[float]()
    assert train(again, _draw, _losses(again, seen), Schedule(50), tmp_path) is not None
    assert len(seen) == 49


def test_another_schedule_does_not_go_on_with_this_checkpoint(tmp_path):
    network = _network()
    train(network, _draw, _losses(network), Schedule(5), tmp_path)
    with pytest.raises(InputError, match="another schedule"):
        train(network, _draw, _losses(network), Schedule(6), tmp_path)

"""Optimising a network, so that it can be stopped at any time and goes on where it stopped.

Everything random in step ``n`` is drawn from a generator seeded by the run's seed and ``n``:
an interrupted run continues with the very steps that it would have made. While one step is
computed, a thread of its own draws what the next one sees.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from unimo_bids.errors import InputError
from unimo_bids.files.staging import atomic
from unimo_bids.training.muon import Muon

Drawn = TypeVar("Drawn")


class _Stateful(Protocol):
    """A network or an optimiser, whose state a checkpoint holds."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


CHECKPOINT = "checkpoint.pt"
LOG = "log.tsv"


@dataclass(frozen=True)
class Schedule:
    """How long to train, and how fast.

    Parameters
    ----------
    learning_rate
        At its height; it rises over the first 2 % of the steps and falls to 0 as a cosine.
    averaging
        Of the exponential moving average of the weights that is kept in the end, per step; less at
        first, so that the weights it began with are forgotten.
    seed
        Of all draws, and of the first weights.
    """

    steps: int
    learning_rate: float = 1e-2
    averaging: float = 0.998
    seed: int = 0

    def rate(self, step: int) -> float:
        """Learning rate at a step."""
        warm = min(1.0, (step + 1) / (0.02 * self.steps))
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / self.steps))


@torch.no_grad()
def _average(
    most: float, averages: Sequence[Tensor], weights: Sequence[Tensor], number: Tensor | int
) -> None:
    """Move averages of so many weights towards new ones."""
    share = max(1 - most, 9 / (9 + int(number)))
    for average, weight in zip(averages, weights, strict=True):
        if average.is_floating_point():
            average.lerp_(weight, share)
        else:  # a count
            average.copy_(weight)


def train(
    network: nn.Module,
    draw: Callable[[np.random.Generator], Drawn],
    losses: Callable[[Drawn], dict[str, Tensor]],
    schedule: Schedule,
    folder: Path,
    *,
    minutes: float | None = None,
    every: int = 100,
) -> nn.Module | None:
    """Train a network; returns it with averaged weights, or None if time ran out before.

    Parameters
    ----------
    draw
        What one step sees, from the generator that it is given.
    losses
        Of what was drawn, by name; to be summed.
    folder
        Holds checkpoint and log; a checkpoint of the same schedule is continued.
    minutes
        Stop after so long, with a checkpoint.
    every
        How many steps from checkpoint to checkpoint, and from line to line of the log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kernels = [p for p in network.parameters() if p.ndim > 2 and p.shape[2:].numel() > 1]
    others = [p for p in network.parameters() if not any(p is kernel for kernel in kernels)]
    optimisers: dict[str, torch.optim.Optimizer] = {"adam": torch.optim.AdamW(others)}
    if kernels:
        optimisers["muon"] = Muon(kernels)
    averaged = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=partial(_average, schedule.averaging), use_buffers=True
    )
    state: dict[str, _Stateful] = {"network": network, "averaged": averaged, **optimisers}
    first = _resumed(folder / CHECKPOINT, state, schedule)
    started = since = time.monotonic()
    waited, history = 0.0, list[dict[str, float]]()  # since the last line of the log

    def drawn(step: int) -> Drawn:
        return draw(np.random.default_rng([schedule.seed, step]))

    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(drawn, first)
        for step in range(first, schedule.steps):
            asked = time.monotonic()
            seen = coming.result()
            waited += time.monotonic() - asked
            coming = ahead.submit(drawn, step + 1)
            rate = schedule.rate(step)
            for optimiser in optimisers.values():
                for group in optimiser.param_groups:
                    group["lr"] = rate
            found = losses(seen)
            network.zero_grad(set_to_none=True)
            torch.stack(list(found.values())).sum().backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            for optimiser in optimisers.values():
                optimiser.step()
            averaged.update_parameters(network)
            history.append({name: float(value.detach()) for name, value in found.items()})
            done = step + 1
            late = minutes is not None and time.monotonic() - started > 60 * minutes
            if done % every == 0 or done == schedule.steps or late:
                means = {name: float(np.mean([h[name] for h in history])) for name in found}
                spent = (time.monotonic() - since) / len(history)
                times = {"seconds_per_step": spent, "waited_for_drawing": waited / len(history)}
                _log(folder / LOG, done, rate, times | means)
                _checkpoint(folder / CHECKPOINT, state, schedule, done)
                waited, history, since = 0.0, [], time.monotonic()
            if late and done < schedule.steps:
                return None
    return averaged.module


def _checkpoint(path: Path, state: dict[str, _Stateful], schedule: Schedule, step: int) -> None:
    parts = {name: part.state_dict() for name, part in state.items()}
    with atomic(path) as staged:
        torch.save({"step": step, "schedule": asdict(schedule), **parts}, staged)


def _resumed(path: Path, state: dict[str, _Stateful], schedule: Schedule) -> int:
    """Restore what a checkpoint holds and return the next step; 0 without one."""
    if not path.exists():
        return 0
    saved = torch.load(path, map_location="cpu", weights_only=True)
    if saved["schedule"] != asdict(schedule):
        raise InputError(
            path,
            f"is of another schedule ({saved['schedule']})",
            "train in another folder, or with the options that this one was begun with",
        )
    for name, part in state.items():
        part.load_state_dict(saved[name])
    return int(saved["step"])


def _log(path: Path, step: int, rate: float, means: dict[str, float]) -> None:
    columns = ["step", "learning_rate", *means]
    values = [f"{step}", f"{rate:.3g}", *(f"{mean:.4f}" for mean in means.values())]
    new = not path.exists()
    with path.open("a") as stream:
        if new:
            stream.write("\t".join(columns) + "\n")
        stream.write("\t".join(values) + "\n")

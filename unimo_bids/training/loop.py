"""Optimising a network, so that it can be stopped at any time and goes on where it stopped.

Everything random in step ``n`` is drawn from a generator seeded by the run's seed and ``n``:
an interrupted run continues with the very steps that it would have made.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from unimo_bids.errors import InputError
from unimo_bids.files.staging import atomic

CHECKPOINT = "checkpoint.pt"
LOG = "log.tsv"


@dataclass(frozen=True)
class Schedule:
    """How long to train, and how fast.

    Parameters
    ----------
    steps
        In all.
    learning_rate
        At its height; it rises over the first 2 % of the steps and falls to 0 as a cosine.
    averaging
        Of the exponential moving average of the weights that is kept in the end, per step.
    seed
        Of all draws, and of the first weights.
    """

    steps: int
    learning_rate: float = 2e-3
    averaging: float = 0.998
    seed: int = 0

    def rate(self, step: int) -> float:
        """Learning rate at a step."""
        warm = min(1.0, (step + 1) / (0.02 * self.steps))
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / self.steps))


def train(
    network: nn.Module,
    losses: Callable[[np.random.Generator], dict[str, Tensor]],
    schedule: Schedule,
    folder: Path,
    *,
    minutes: float | None = None,
    every: int = 100,
) -> nn.Module | None:
    """Train a network; returns it with averaged weights, or None if time ran out before.

    Parameters
    ----------
    network
        To be trained, in place.
    losses
        One step's losses, by name, to be summed; draws from the generator that it is given.
    folder
        Holds checkpoint and log; a checkpoint of the same schedule is continued.
    minutes
        Stop after so long, with a checkpoint.
    every
        How many steps from checkpoint to checkpoint, and from line to line of the log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-4)
    averaged = torch.optim.swa_utils.AveragedModel(
        network,
        multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(schedule.averaging),
        use_buffers=True,
    )
    state = {"network": network, "optimiser": optimiser, "averaged": averaged}
    first = _resumed(folder / CHECKPOINT, state, schedule)
    started = since = time.monotonic()
    history: list[dict[str, float]] = []  # since the last line of the log
    for step in range(first, schedule.steps):
        rate = schedule.rate(step)
        for group in optimiser.param_groups:
            group["lr"] = rate
        found = losses(np.random.default_rng([schedule.seed, step]))
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(found.values())).sum().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        averaged.update_parameters(network)
        history.append({name: float(value.detach()) for name, value in found.items()})
        done, late = step + 1, _over(started, minutes)
        if done % every == 0 or done == schedule.steps or late:
            means = {name: float(np.mean([h[name] for h in history])) for name in found}
            seconds = (time.monotonic() - since) / len(history)
            _log(folder / LOG, done, rate, seconds, means)
            _checkpoint(folder / CHECKPOINT, state, schedule, done)
            history, since = [], time.monotonic()
        if late and done < schedule.steps:
            return None
    return averaged.module


def _over(started: float, minutes: float | None) -> bool:
    return minutes is not None and time.monotonic() - started > 60 * minutes


def _checkpoint(path: Path, state: dict[str, object], schedule: Schedule, step: int) -> None:
    parts = {name: part.state_dict() for name, part in state.items()}  # type: ignore[attr-defined]
    with atomic(path) as staged:
        torch.save({"step": step, "schedule": asdict(schedule), **parts}, staged)


def _resumed(path: Path, state: dict[str, object], schedule: Schedule) -> int:
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
        part.load_state_dict(saved[name])  # type: ignore[attr-defined]
    return int(saved["step"])


def _log(path: Path, step: int, rate: float, seconds: float, means: dict[str, float]) -> None:
    columns = ["step", "learning_rate", "seconds_per_step", *means]
    values = [f"{step}", f"{rate:.3g}", f"{seconds:.3f}", *(f"{m:.4f}" for m in means.values())]
    new = not path.exists()
    with path.open("a") as stream:
        if new:
            stream.write("\t".join(columns) + "\n")
        stream.write("\t".join(values) + "\n")

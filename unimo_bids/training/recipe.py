"""From the compact file to weights with a model card, the same way for every network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unimo_bids.files.staging import write_text
from unimo_bids.markdown import markdown_table
from unimo_bids.networks.weights import checksum, load_weights, save_weights
from unimo_bids.training.anatomies import Packed, load
from unimo_bids.training.loop import Schedule, train
from unimo_bids.training.stacks import Stack

Source = Packed | Stack


@dataclass(frozen=True)
class Recipe:
    """How to make one network's weights.

    Attributes
    ----------
    name
        Of the weights and their card, and of the command.
    ground
        Makes what draws examples, from objects and a device.
    finish
        The last touch, by the ground it was trained on.
    validate
        Markdown tables of the network, as shipped, on a ground of objects that were held back, and
        so many draws.
    about
        What it is and what it was trained on, for the card.
    """

    name: str
    network: Callable[[], nn.Module]
    ground: Callable[[list[Any], str], Any]
    draw: Callable[[Any, int, np.random.Generator], Any]
    losses: Callable[[Any, Any], dict[str, Tensor]]
    validate: Callable[[Any, Any, int], str]
    about: Callable[[Any], str]
    examples: str
    finish: Callable[[Any, Any], None] = lambda _network, _ground: None
    load: Callable[[Path], list[Any]] = load


def by_confidence(
    what: str, believed: Sequence[tuple[float, bool]], levels: Sequence[float]
) -> str:
    """Table of how many answers of about the same confidence are right."""
    rows = [["confidence", what, "right"]]
    for low, high in pairwise((0.0, *levels, 1.01)):
        right = [one for confidence, one in believed if low <= confidence < high]
        if right:
            interval = f"{low:g} to {high:g}" if high < 1 else f"{low:g} and more"
            rows.append([interval, str(len(right)), f"{100 * np.mean(right):.0f} %"])
    return markdown_table(rows)


def _first(objects: list[Source], most: int | None) -> list[Source]:
    """All objects that are held back, and at most `most` others of each kind."""
    kept: list[Source] = []
    counts: Counter[str] = Counter()
    for thing in objects:
        counts[thing.kind] += not thing.held_back
        if thing.held_back or most is None or counts[thing.kind] <= most:
            kept.append(thing)
    return kept


def _begin(network: nn.Module, paths: Sequence[Path]) -> None:
    """Fill a network with weights, or with the mean of several."""
    states = [load_weights(deepcopy(network), path, partial=True).state_dict() for path in paths]
    mean = {
        name: torch.stack([state[name].double() for state in states]).mean(dim=0)
        for name in states[0]
    }
    network.load_state_dict(mean)


def follow(
    recipe: Recipe,
    data: Path,
    folder: Path,
    schedule: Schedule,
    *,
    begin: Sequence[Path] = (),
    batch: int = 4,
    device: str = "cpu",
    minutes: float | None = None,
    validation: int = 100,
    most: int | None = None,
    hold_back: Sequence[str] = (),
) -> str:
    """Train, write weights and model card into a folder, and return the tables of the card.

    Of each kind of anatomy the first ones are trained on, at `most` so many; of real stacks, all
    but those of the fetuses to hold back.
    """
    objects = _first(recipe.load(data), most)
    objects = [
        replace(thing, held_back=thing.fetus in hold_back) if isinstance(thing, Stack) else thing
        for thing in objects
    ]
    grounds = [
        recipe.ground([thing for thing in objects if thing.held_back is held_back], device)
        for held_back in (False, True)
    ]
    torch.manual_seed(schedule.seed)
    network = recipe.network()
    if begin:
        _begin(network, begin)
    network.to(device)
    averaged = train(
        network,
        partial(recipe.draw, grounds[0], batch),
        partial(recipe.losses, network),
        schedule,
        folder,
        minutes=minutes,
    )
    if averaged is None:
        return f"time is up; call again to go on in {folder}"
    recipe.finish(averaged.eval(), grounds[0])
    weights = folder / f"{recipe.name}.safetensors"
    save_weights(averaged, weights)
    # judged as it will be used, in half precision
    shipped = load_weights(recipe.network(), weights)
    tables = recipe.validate(shipped.to(device), grounds[1], validation)
    first = " and ".join(f"those whose SHA-256 begins with {checksum(path)}" for path in begin)
    first = f"the mean of {first}" if len(begin) > 1 else first or "random ones"
    names = {
        title: sorted({thing.name for thing in objects if thing.held_back is held_back})
        for title, held_back in (("Trained on", False), ("Held back", True))
    }
    card = f"""{recipe.about(shipped)}
`{weights.name}`, SHA-256 begins with {checksum(weights)}. Made by `unimo-train {recipe.name}`:
{schedule.steps} steps of {batch} {recipe.examples}, seed {schedule.seed}, Muon and AdamW, learning
rate {schedule.learning_rate:g}, weights averaged by {schedule.averaging:g} per step, begun with
{first}. The log beside it says what each step took, and how long it waited for
volumes to be rendered.

{"".join(f"{title}: {', '.join(of)}.{chr(10) * 2}" for title, of in names.items())}
{tables}
"""
    write_text(folder / f"{recipe.name}.md", card)
    return tables

"""Brain extraction on fetuses that *recognise* has not seen: fitted without each of them in turn.

It is fitted from nothing, as what the shipped one began with had seen all of them. *Find* and
*segment* stay those that are shipped, and these have seen the stacks: what is judged is whether a
brain is told from other things, not its outline.
"""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks import brain
from unimo_bids.brain.network import BrainNetworks, Recognise
from unimo_bids.networks.weights import FOLDER, load_weights
from unimo_bids.training.anatomies import load
from unimo_bids.training.brain import fit, lessons
from unimo_bids.training.scenes import Scenes
from unimo_bids.training.stacks import Stack

_VOLUMES = 220  # twice as many as in one training: the shipped one has gone through several


def judge(data: Path, pack: Path, out: Path, threads: int) -> int:
    """Print the tables of all fetal stacks in a pack, and write pictures."""
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    objects = [thing for thing in load(pack) if not thing.held_back]
    trained = BrainNetworks()
    load_weights(trained, FOLDER / "brain.safetensors")
    seen = lessons(trained, Scenes(objects), _VOLUMES)
    names: dict[str, list[str]] = {}
    for thing in objects:
        if isinstance(thing, Stack):
            names.setdefault(thing.fetus, []).append(thing.name)
    tables: list[list[list[str]]] = [[], []]
    for fetus, own in names.items():
        left = seen.without(fetus)
        print(f"{fetus}: {len(left.right)} of {len(seen.right)} outlines", flush=True)
        trained.recognise = Recognise(left.features.shape[1])
        fit(trained.recognise, left)
        found = brain.of_fetuses(data, out, trained, own)
        tables = [[*all_, *rows[bool(all_) :]] for all_, rows in zip(tables, found, strict=True)]
    brain.print_tables(tables)
    print(f"Pictures: {out}")
    return 0

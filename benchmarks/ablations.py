"""What the parts of the sequence model are worth: each left out, trained and judged alike.

``python -m benchmarks.ablations series.npz OUT_DIR --steps 900 --batch 12``
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from unimo_bids.files.staging import atomic
from unimo_bids.markdown import markdown_table
from unimo_bids.networks.temporal import TemporalNetwork
from unimo_bids.training.calibration import calibrate
from unimo_bids.training.judged import LOST, cases, compare
from unimo_bids.training.loop import Schedule, train
from unimo_bids.training.sequences import load
from unimo_bids.training.track import Track, draw, losses, make_ground, tracks

_OTHER_SEED = "another seed"  # what chance alone does
VARIANTS: Mapping[str, Callable[[], TemporalNetwork]] = {
    "three layers": TemporalNetwork,
    "no time": partial(TemporalNetwork, without=["time"]),
    "no attention": partial(TemporalNetwork, without=["attention"]),
    "no future": partial(TemporalNetwork, without=["future"]),
    "one layer": partial(TemporalNetwork, 1),
    "two layers": partial(TemporalNetwork, 2),
    _OTHER_SEED: TemporalNetwork,
}
_KINDS = ("fetal", "adult")
COLUMNS = (
    "network",
    *(f"{kind}: {what}" for kind in _KINDS for what in ("all, mm", "lost", "ahead", "95 % hold")),
)


def ablate(data: Path, folder: Path, schedule: Schedule, batch: int) -> str:
    """Train all variants, each in a folder of its own; the table, which is kept beside them."""
    series = load(data)
    ground = make_ground([one for one in series if not one.held_back], "cpu")
    held_back = [one for one in tracks([one for one in series if one.held_back]) if one.watched]
    rows = [list(COLUMNS)]
    for name, make in VARIANTS.items():
        own = replace(schedule, seed=schedule.seed + (name == _OTHER_SEED))
        torch.manual_seed(own.seed)
        network = make()
        averaged = train(
            network,
            partial(draw, ground, batch),
            partial(losses, network),
            own,
            folder / name.replace(" ", "-").replace(",", ""),
        )
        assert isinstance(averaged, TemporalNetwork)
        calibrate(averaged.eval(), ground)
        rows.append([name, *_cells(averaged, held_back)])
        table = markdown_table(rows)
        with atomic(folder / "ablations.md") as staged:
            staged.write_text(table)
    return table


def _cells(network: TemporalNetwork, held_back: Sequence[Track]) -> list[str]:
    """How far off it is in all frames, in lost ones and one ahead, and how often intervals hold."""
    cells = []
    for kind in _KINDS:
        some = [one for one in held_back if one.kind == kind]
        found = [
            compare(network, cases(some, lost), {}, lost=frames != "all")[0]
            for frames, lost in LOST.items()
            if some
        ]
        cells += [f"{one.off:.2f}" for one in found]
        cells += [f"{100 * np.mean([one.held for one in found]):.0f} %"] if found else [""] * 4
    return cells


def main() -> None:
    """Of series that `unimo-train watch` has made; no weights are kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablations", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=4)
    given = parser.parse_args()
    print(ablate(given.data, given.out, Schedule(given.steps, 3e-3, 0.99), given.batch))


if __name__ == "__main__":
    main()

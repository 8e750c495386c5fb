"""The page of thresholds, Markdown from the package's own."""

from __future__ import annotations

from dataclasses import fields
from types import ModuleType

from benchmarks.series import ROOT
from unimo_bids.brain import thresholds as brain
from unimo_bids.markdown import markdown_table
from unimo_bids.motion import thresholds as motion
from unimo_bids.motion.slices import thresholds as slices
from unimo_bids.origins import origins
from unimo_bids.qc import thresholds as qc
from unimo_bids.registration import thresholds as registration
from unimo_bids.spaces import thresholds as spaces

PAGE = ROOT / "docs" / "notes" / "thresholds.md"
ROOMS = (brain, registration, motion, slices, spaces, qc)
_INTRODUCTION = """\
# Thresholds

What is decided by numbers, and where each number comes from. Made from the rooms' `thresholds.py`
by `python -m benchmarks page`. A convention is usual in the field, or was chosen and not fitted to
anything. **Shown** means that results of the same data are shown on [the results
page](../benchmarks.md), which flatters them. Sizes, steps and tolerances stand beside their code.
"""


def render() -> str:
    """Markdown of all stages."""
    return "\n".join([_INTRODUCTION, *map(_room, ROOMS)])


def _room(room: ModuleType) -> str:
    parts = [f"## `{room.__name__}`\n"]
    for name in sorted(name for name in vars(room) if name.isupper() and name[0] != "_"):
        stage = getattr(room, name)
        rows = [["number", "value", "origin", "from"]]
        for one in fields(stage):
            origin = origins(type(stage))[one.name]
            kind = f"{origin.kind}, **shown**" if origin.shown else origin.kind
            rows.append([f"`{one.name}`", f"{getattr(stage, one.name):.3g}", kind, origin.why])
        parts += [f"### {name.capitalize()}\n", f"{type(stage).__doc__}\n", markdown_table(rows)]
    return "\n".join(parts)

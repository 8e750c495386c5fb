"""Heads that take seconds to build, built once."""

from __future__ import annotations

from functools import cache

from unimo_bids.simulation import adult_head
from unimo_bids.simulation.anatomy import Anatomy


@cache
def adult(skull: bool = True) -> Anatomy:
    """Not to be changed."""
    return adult_head(skull=skull)

"""Stand-ins for trained networks."""

from __future__ import annotations

import pytest

from tests.brain.bright import AFFINE, bright_networks
from unimo_bids.brain import finder as finders
from unimo_bids.brain.finder import BrainFinder
from unimo_bids.brain.network import BrainNetworks


@pytest.fixture
def bright(monkeypatch: pytest.MonkeyPatch) -> BrainNetworks:
    """Networks that find whatever is bright, in the place of the shipped ones."""
    trained = bright_networks()
    monkeypatch.setattr(finders, "_networks", lambda _device: trained)
    return trained


@pytest.fixture
def finder(bright: BrainNetworks) -> BrainFinder:
    """For the grid of `volume_of`."""
    return BrainFinder(AFFINE)

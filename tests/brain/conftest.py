"""Stand-ins for trained networks."""

from __future__ import annotations

import pytest

from tests.brain.bright import AFFINE, bright_networks
from unimo_bids.brain import unimo
from unimo_bids.brain.network import BrainNetworks
from unimo_bids.brain.unimo import BrainFinder


@pytest.fixture
def bright(monkeypatch: pytest.MonkeyPatch) -> BrainNetworks:
    """Networks that find whatever is bright, in the place of the shipped ones."""
    trained = bright_networks()
    monkeypatch.setattr(unimo, "_networks", lambda _device: trained)
    return trained


@pytest.fixture
def finder(bright: BrainNetworks) -> BrainFinder:
    """For the grid of `volume_of`."""
    return BrainFinder(AFFINE)

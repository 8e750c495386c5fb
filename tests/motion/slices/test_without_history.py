"""Slices are fitted without spin history where that makes frames more alike, and only there."""

import numpy as np
import pytest
import torch

from tests.motion.slices.test_slices import COUNT, TIMES, TR, acquired, sway
from tests.phantom import AFFINE, RADIUS, SHAPE, f64
from unimo_bids.motion.frames import Frames
from unimo_bids.motion.slices.estimation import _without_history
from unimo_bids.motion.slices.history import Excitation, SpinHistory
from unimo_bids.motion.slices.without_history import WithoutHistory, clearly_more_alike
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.region import Region

WAY = sway(8.0, 6.0)
POSES = torch.stack([WAY.at(TIMES.of(t)) for t in range(COUNT)])
EVERY = np.ones(COUNT, dtype=bool)


def frames_of(series: np.ndarray) -> Frames:
    return Frames(series.astype(np.float32), AFFINE, torch.device("cpu"))


def head_of(mask: torch.Tensor) -> Region:
    return Region(Grid(SHAPE, AFFINE), mask, f64([0, 0, 0.0]), RADIUS)


def bright(mask: torch.Tensor, excitation: Excitation) -> np.ndarray:
    """What the excitations make of the brightness of frames ``(X, Y, Z, T)``."""
    history = SpinHistory(Grid(SHAPE, AFFINE), TIMES.axis, TIMES.offsets, POSES, excitation)
    return torch.stack([history.of_frame(t, mask) for t in range(COUNT)], dim=-1).numpy()


@pytest.mark.parametrize("there", [True, False])
def test_it_is_taken_away_where_it_is_there(at_rest, mask, there):
    excitation, head = Excitation(80.0, 1.3, TR), head_of(mask)
    # of other tissue than is assumed
    signal = bright(mask, Excitation(80.0, 1.8, TR))
    assert np.abs(signal - 1).max() > 0.05
    clean = acquired(WAY)
    frames = frames_of(clean * signal if there else clean)
    found = _without_history(frames, at_rest, head, WAY, TIMES, EVERY, excitation)
    assert isinstance(found, WithoutHistory) == there
    if there:
        inside = mask > 0.9
        left = [
            float((one([5])[0] - frames_of(clean)([5])[0])[inside].square().mean().sqrt())
            for one in (frames, found)
        ]
        assert left[1] < 0.6 * left[0]


def test_frames_have_to_agree():
    before = np.full(8, 0.9)
    assert clearly_more_alike(before, before + np.linspace(0.01, 0.02, 8))
    assert not clearly_more_alike(before, before)
    assert not clearly_more_alike(before, before + np.r_[0.09, np.full(7, -0.005)])
    assert not clearly_more_alike(before[:1], before[:1] + 0.05)

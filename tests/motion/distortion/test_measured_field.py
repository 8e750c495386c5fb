"""How much of a field map frames say there is; what the map brings is `test_deform`'s."""

import numpy as np
import pytest
import torch

from tests import phantom
from tests.deformation.test_field_map import measured
from tests.motion.distortion.test_estimation import AXIS, POSES, known, series
from unimo_bids.deformation.epi import empty_field
from unimo_bids.motion.distortion import estimation
from unimo_bids.motion.distortion.estimation import _judge_map, _settle, _Verdict
from unimo_bids.motion.distortion.held_out import find_ground

FEW = 8


@pytest.fixture(scope="module")
def ground():
    data = series(1.0, POSES[:FEW])
    every = np.arange(FEW)
    return find_ground(data, phantom.AFFINE.numpy(), known(POSES[:FEW], data[..., 0]), every, every)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "times", "doubted"),
    [
        ({}, 1.0, False),
        ({"times": 0.5}, 2.0, True),
        ({"times": 2.0}, 0.5, True),
        ({"times": -1.0}, -1.0, None),
        ({"times": 6.28}, 0.16, None),  # rad/s taken for Hz
        ({"size": 0.0}, None, None),  # noise alone
    ],
)
def test_how_much_of_a_map_there_is(ground, field, times, doubted):
    verdict = _judge_map(ground, measured(**field), AXIS)
    found = float(verdict.said.split()[1])
    # a quarter off, and a map that is right would be taken for one that is not
    assert times is None or abs(found - times) < 0.25 * abs(times)
    assert (verdict.field is None) == (doubted is None)
    assert verdict.field is None or verdict.doubted == doubted


@pytest.mark.parametrize(
    ("doubted", "of_frames", "taken"),
    [
        (False, 0.5, "map"),
        (True, 0.5, "frames"),
        (True, 0.31, "map"),  # not clearly more than 0.3, as frames differ by 0.1
        (True, None, "map"),
        (None, 0.3, "frames"),
        (None, None, "frames"),
    ],
)
def test_a_map_that_is_doubted_gives_way_to_what_gains_clearly_more(
    monkeypatch, doubted, of_frames, taken
):
    field = empty_field(phantom.GRID, AXIS, torch.zeros(3), torch.full((3,), 20.0), 40.0)
    noise = torch.linspace(-0.1, 0.1, 12)
    given = _Verdict(
        None if doubted is None else field, "map", {}, 0.3 + noise, None, True, bool(doubted)
    )
    own = _Verdict(None if of_frames is None else field, "frames", {}, (of_frames or 0.3) - noise)
    monkeypatch.setattr(estimation, "_judge_map", lambda *_: given)
    monkeypatch.setattr(estimation, "_seek", lambda *_: own)
    verdict, refused = _settle("ground", AXIS, "auto", "a map")
    assert (verdict.said, refused) == (taken, "" if taken == "map" else "map")
    assert verdict.measured == (taken == "map")

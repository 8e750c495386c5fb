"""How much of a field map frames say there is; what the map brings is `test_deform`'s."""

import numpy as np
import pytest
import torch

from tests import phantom
from tests.deformation.test_field_map import measured
from tests.motion.test_distortion import AXIS, POSES, known, series
from unimo_bids.deformation.epi import empty_field
from unimo_bids.motion import distortion
from unimo_bids.motion.distortion import _ground, _judge_map, _settle, _Verdict

FEW = 8


@pytest.fixture(scope="module")
def ground():
    data = series(1.0, POSES[:FEW])
    every = np.arange(FEW)
    return _ground(data, phantom.AFFINE.numpy(), known(POSES[:FEW], data[..., 0]), every, every)


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
    ("doubted", "in_frames", "taken", "refused"),
    [
        (False, True, "map", ""),
        (True, True, "frames", "map"),
        (True, False, "map", ""),
        (None, True, "frames", "map"),
        (None, False, "frames", "map"),
    ],
)
def test_what_frames_say_comes_before_a_map_that_is_doubted(
    monkeypatch, doubted, in_frames, taken, refused
):
    field = empty_field(phantom.GRID, AXIS, torch.zeros(3), torch.full((3,), 20.0), 40.0)
    of_map = _Verdict(field if doubted is not None else None, "map", {}, True, bool(doubted))
    of_frames = _Verdict(field if in_frames else None, "frames", {})
    monkeypatch.setattr(distortion, "_judge_map", lambda *_: of_map)
    monkeypatch.setattr(distortion, "_seek", lambda *_: of_frames)
    verdict, said = _settle("ground", AXIS, "auto", "a map")
    assert (verdict.said, said) == (taken, refused)
    assert verdict.measured == (taken == "map")

"""A field map is not believed where frames disagree under it; what it brings is `test_deform`'s."""

import numpy as np
import pytest

from tests import phantom
from tests.deformation.test_field_map import measured
from tests.motion.test_distortion import AXIS, POSES, known, series
from unimo_bids.motion.distortion import _ground, _judge_map

FEW = 8


@pytest.mark.slow
@pytest.mark.parametrize(("times", "most"), [(-1.0, -0.5), (2.0, 0.2)])
def test_a_map_of_the_wrong_sign_or_size_is_not_used(times, most):
    data = series(1.0, POSES[:FEW])
    motion = known(POSES[:FEW], data[..., 0])
    every = np.arange(FEW)
    ground = _ground(data, phantom.AFFINE.numpy(), motion, every, every)
    verdict = _judge_map(ground, measured(times=times), AXIS)
    assert verdict.field is None and "sign changed" in verdict.said
    assert verdict.less[AXIS] < most

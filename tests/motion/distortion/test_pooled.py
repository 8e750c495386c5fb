"""How long a field is sought, and that none is read as one of nothing."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest
import torch

from tests import phantom
from tests.motion.distortion.test_estimation import AXIS, POSES, known, series
from unimo_bids.deformation.epi import empty_field
from unimo_bids.motion.distortion.held_out import Seen, find_ground
from unimo_bids.motion.distortion.pooled import fit_field
from unimo_bids.motion.distortion.undistorted import read

FEW = 5


@pytest.fixture(scope="module")
def seen():
    data, every = series(1.0, POSES[:FEW]), np.arange(FEW)
    motion = known(POSES[:FEW], data[..., 0])
    ground = find_ground(data, phantom.AFFINE.numpy(), motion, every, every)
    none = empty_field(ground.frames.grid, AXIS, *ground.box, 0.75 * phantom.RADIUS)
    return Seen(ground.read(every.tolist()), ground.poses, ground.head, ground.level), none


def test_a_step_that_explains_too_little_is_the_last(seen):
    frames, none = seen
    given = (frames.sampled, frames.poses, none, frames.head, frames.level)
    one, two = fit_field(*given, 1), fit_field(*given, 2)
    ended, went_on = fit_field(*given, 2, worth=inf), fit_field(*given, 2, worth=1e-6)
    assert torch.equal(ended[1].coefficients, one[1].coefficients)
    assert torch.equal(ended[0], one[0])
    assert torch.equal(went_on[1].coefficients, two[1].coefficients)
    assert float((two[1].coefficients - one[1].coefficients).abs().max()) > 0.05


def test_no_field_is_read_as_one_of_nothing(seen):
    frames, none = seen
    hardly = torch.zeros_like(none.coefficients)
    hardly[0, 0, 0] = 1e-9  # mm
    where = (frames.level, frames.sampled[1], frames.poses[1])
    without = read(*where, none, frames.head.places)
    under = read(*where, replace(none, coefficients=hardly), frames.head.places)
    assert torch.allclose(without.values, under.values, rtol=1e-5)
    assert torch.allclose(without.indices, under.indices, atol=1e-5)
    assert float(without.slope.abs().max()) == 0.0

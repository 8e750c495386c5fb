"""Frames one at a time."""

import numpy as np
import torch

from tests.phantom import AFFINE, SHAPE, error_mm, noise, pose, volume
from unimo_bids.motion.follower import Follower


def test_a_head_is_followed_by_what_has_been_seen(at_rest, mask):
    """It turns on by eight degrees a frame: from rest alone, half of that way is too far."""
    follower = Follower((at_rest + noise(SHAPE, 0.5)).numpy(), AFFINE.numpy(), mask.numpy())
    for step in range(9):
        true = pose((0, 0, 8.0 * step), (1.0 * step, 0.0, 0.0))
        frame = volume(true) + noise(SHAPE, 0.5, seed=step)
        found = follower.push(frame.numpy())
        assert float(error_mm(torch.from_numpy(found.pose)[None], true[None])) < 0.1
        assert found.similarity > 0.95
        assert np.isfinite(found.covariance).all()

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


def test_what_comes_next_is_about_what_was_last_and_told_to_be_uncertain(at_rest, mask):
    """Still, then pushed by 3 mm: how far heads go in a frame is known by then, not where to."""
    follower = Follower((at_rest + noise(SHAPE, 0.5)).numpy(), AFFINE.numpy(), mask.numpy())
    assert bool(follower.predict([2.0]).covariance.isnan().all())
    for step in range(6):
        true = pose((0, 0, 0.0), (3.0 * (step > 2), 0.0, 0.0))
        follower.push((volume(true) + noise(SHAPE, 0.5, seed=step)).numpy())
    found = follower.predict([1.0, 2.0, 4.0])
    assert float(error_mm(found.poses[:2], true.expand(2, 4, 4)).max()) < 1.0
    deviation = found.covariance.diagonal(dim1=1, dim2=2).sqrt()
    assert bool((deviation.diff(dim=0) > 0).all())  # later is less certain
    assert 0.1 < float(deviation[1, 3]) < 5

"""A brightness that swings, sampled slice by slice, at one moment of every frame."""

import numpy as np
import pytest
import torch

from unimo_bids.motion.slices.even_times import EvenTimes, acquired
from unimo_bids.motion.slices.trajectory import SliceTimes
from unimo_bids.spatial.grid import Grid, voxel_centers
from unimo_bids.spatial.warp import Rigid

COUNT, TR, SHAPE = 40, 2.0, (4, 5, 8)
GRID = Grid(SHAPE, torch.eye(4, dtype=torch.float64))
PLACES = voxel_centers(SHAPE)
TIMES = SliceTimes(2, np.argsort(np.r_[0:8:2, 1:8:2]) / 8 * TR, TR)  # interleaved
REST = np.tile(np.eye(4), (COUNT, 1, 1))
USED = np.ones(COUNT, dtype=bool)
INNER = slice(3, -3)  # nothing is extrapolated


def swing(times):
    return (1000 + 20 * np.sin(2 * np.pi * times / 12.0)).astype(np.float32)


def sampled(poses):
    """Frames in the reference's space, each voxel as it was when its slice came."""
    begun = np.arange(COUNT) * TR
    return [
        swing(t + acquired(PLACES, GRID, TIMES, Rigid(pose)).reshape(SHAPE))
        for t, pose in zip(begun, torch.from_numpy(poses), strict=True)
    ]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_all_slices_show_the_same_moment(share):
    even = EvenTimes(TIMES, share)
    frames = np.stack(list(even(iter(sampled(REST)), GRID, REST, USED)))
    true = swing(np.arange(COUNT) * TR + even.moment)[:, None, None, None]
    assert np.abs(frames - true)[INNER].max() < 0.3  # of 20; uncorrected it is 17
    assert even.moment == pytest.approx(share * 1.75)


def test_a_head_that_moved_has_its_own_times():
    poses = REST.copy()
    poses[:, 2, 3] = np.tile([0.0, 0.5, 1.0, 1.0], COUNT // 4)  # to and fro by a slice
    raw = sampled(poses)
    even = EvenTimes(TIMES, 0.5)
    true = swing(np.arange(COUNT) * TR + even.moment)[:, None, None, None]

    def error(ways):
        apart = np.abs(np.stack(list(even(iter(raw), GRID, ways, USED))) - true)
        return apart[INNER, ..., 1:-1].mean()

    by_slices = np.repeat(poses[:, None], SHAPE[2], axis=1)
    assert error(poses) < 0.3 * error(REST)
    assert error(by_slices) == pytest.approx(error(poses))


def test_frames_and_places_that_tell_nothing_stay_and_have_no_part_in_others():
    raw = sampled(REST)
    used = USED.copy()
    used[[0, 1, 20]] = False
    for t in (0, 1, 20):
        raw[t] = raw[t] * 3  # before the steady state; lost
    raw[10][1, 2, 3] = 0.0
    even = EvenTimes(TIMES, 0.5)
    frames = np.stack(list(even(iter(raw), GRID, REST, used)))
    np.testing.assert_array_equal(frames[[0, 1, 20]], np.stack(raw)[[0, 1, 20]])
    assert frames[10][1, 2, 3] == 0
    true = swing(np.arange(COUNT) * TR + even.moment)[:, None, None, None]
    apart = np.abs(frames - true)
    apart[~used] = apart[10, 1, 2, 3] = 0
    assert apart[INNER].max() < 6  # of 20: what is beside a gap is read from the mean of both sides


def test_in_another_space_places_have_the_times_of_their_slices():
    onto = Grid(SHAPE, torch.diag(torch.tensor([1.0, 1, -1, 1])).double())
    turned = Rigid(torch.diag(torch.tensor([1.0, 1, -1, 1])).double())
    even = EvenTimes(TIMES, 0.5)
    true = np.stack(list(even(iter(sampled(REST)), GRID, REST, USED)))
    found = even(iter(sampled(REST)), GRID, REST, USED, onto=onto, space=turned)
    np.testing.assert_allclose(np.stack(list(found)), true, atol=1e-3)

"""A brightness that swings, sampled slice by slice, at one moment of every frame."""

import numpy as np
import pytest
import torch

from tests.phantom import f64, pose
from unimo_bids.motion.slices.even_times import EvenTimes, acquired
from unimo_bids.motion.slices.trajectory import SliceTimes
from unimo_bids.spatial.grid import Grid, voxel_centers
from unimo_bids.spatial.warp import Composed, Field, Rigid, SliceWise

COUNT, TR, SHAPE = 40, 2.0, (4, 5, 8)
GRID = Grid(SHAPE, torch.eye(4, dtype=torch.float64))
PLACES = voxel_centers(SHAPE)
TIMES = SliceTimes(2, np.argsort(np.r_[0:8:2, 1:8:2]) / 8 * TR, TR)  # interleaved
REST = [Rigid(torch.eye(4, dtype=torch.float64))] * COUNT
USED = np.ones(COUNT, dtype=bool)
INNER = slice(3, -3)  # nothing is extrapolated


def swing(times):
    return (1000 + 20 * np.sin(2 * np.pi * times / 12.0)).astype(np.float32)


def sampled(warps):
    """Frames in the reference's space, each voxel as it was when its slice came."""
    begun = np.arange(COUNT) * TR
    return [
        swing(t + acquired(PLACES, GRID, TIMES, warp).reshape(SHAPE))
        for t, warp in zip(begun, warps, strict=True)
    ]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_all_slices_show_the_same_moment(share):
    even = EvenTimes(TIMES, share)
    frames = np.stack(list(even(iter(sampled(REST)), GRID, REST, USED)))
    true = swing(np.arange(COUNT) * TR + even.moment)[:, None, None, None]
    assert np.abs(frames - true)[INNER].max() < 0.3  # of 20; uncorrected it is 17
    assert even.moment == pytest.approx(share * 1.75)


def test_a_head_that_moved_has_its_own_times():
    poses = torch.eye(4, dtype=torch.float64).repeat(COUNT, 1, 1)
    poses[:, 2, 3] = f64([0.0, 0.5, 1.0, 1.0]).repeat(COUNT // 4)  # to and fro by a slice
    frames = [Rigid(pose) for pose in poses]
    slices = [SliceWise(GRID, 2, pose.expand(SHAPE[2], 4, 4)) for pose in poses]
    assert error(frames, frames) < 0.3 * error(frames, REST)
    assert error(frames, slices) == pytest.approx(error(frames, frames))


def test_what_bends_a_head_that_turns_brings_it_to_other_slices():
    bend = Field(GRID, f64([0.0, 2.0, 0.0])[:, None, None, None].expand(3, *SHAPE))
    turn = [Rigid(pose((25.0 * (t % 2), 0, 0), (0.0, 0.0, 0.0))) for t in range(COUNT)]
    bent = [Composed(bend, one) for one in turn]
    assert error(bent, bent) < 0.5 * error(bent, turn)


def error(warps, told):
    """Mean distance from one moment, where a head that goes one way is told to go another."""
    even = EvenTimes(TIMES, 0.5)
    true = swing(np.arange(COUNT) * TR + even.moment)[:, None, None, None]
    apart = np.abs(np.stack(list(even(iter(sampled(warps)), GRID, told, USED))) - true)
    return apart[INNER, ..., 1:-1].mean()


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

"""Where in a gap between good frames a head turned."""

from itertools import combinations_with_replacement

import numpy as np
import pytest
import torch

from tests.motion.slices.test_slices import COUNT, TIMES, TR, acquired
from tests.phantom import AFFINE, RADIUS, SHAPE, f64, pose
from unimo_bids.motion.frames import Frames
from unimo_bids.motion.slices.gaps import BLUR, across_gaps, path
from unimo_bids.motion.slices.points import Model
from unimo_bids.motion.slices.trajectory import Trajectory, through_frames
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.region import Region

NOWHERE = f64([0, 0, 0.0])


def test_the_path_is_the_cheapest_that_never_turns_back():
    costs = np.random.default_rng(0).normal(size=(6, 4))
    rows = np.arange(6)
    every = [np.array(way) for way in combinations_with_replacement(range(4), 6)]
    cheapest = min(every, key=lambda way: costs[rows, way].sum())
    np.testing.assert_array_equal(path(costs), cheapest)


def test_where_nothing_tells_the_path_stays():
    costs = np.zeros((5, 3))
    costs[0, 1] = -1
    np.testing.assert_array_equal(path(costs), [1, 1, 1, 1, 1])


@pytest.mark.parametrize(("share", "gap"), [(0.2, [4]), (0.7, [4]), (0.3, [3, 4])])
def test_a_sudden_turn_begins_in_its_time(at_rest, mask, share, gap):
    jump = (4 + share) * TR
    times = f64([0.0, jump - 1e-3, jump + 1e-3, COUNT * TR])
    rest, turned = torch.eye(4, dtype=torch.float64), pose((0, 25, 6), (4.0, 0.0, 2.0))
    way = Trajectory(times, torch.stack([rest, rest, turned, turned]), NOWHERE)
    frames = Frames(acquired(way, sigma=2.0), AFFINE, torch.device("cpu"))
    poses = torch.stack([rest] * 5 + [turned] * 3)
    good = ~np.isin(np.arange(COUNT), gap)
    even = through_frames(poses, good, TIMES, NOWHERE)
    model = Model.of(at_rest, Region(Grid(SHAPE, AFFINE), mask, NOWHERE, RADIUS), [BLUR, BLUR, 0])
    found = across_gaps(even, frames, model, TIMES, poses, np.ones(COUNT, dtype=bool), good)
    arms = torch.cat([torch.eye(3), -torch.eye(3)]).double() * RADIUS

    def errors(one):
        at = torch.cat([TIMES.of(t) for t in gap])
        far = (at - jump).abs() > TR / 8  # the time between two knots
        apart = rigid.transform(one.at(at), arms) - rigid.transform(way.at(at), arms)
        return apart.norm(dim=-1).mean(dim=-1)[far]

    assert float(errors(found).mean()) < 0.2 * float(errors(even).mean())
    # knots of good frames before their middles, or after them, stay
    beside = even.times <= (gap[0] - 1) * TR + TIMES.middle
    torch.testing.assert_close(found.knots[beside], even.knots[beside])


def test_frames_without_an_image_say_nothing(at_rest, mask):
    frames = Frames(np.zeros((*SHAPE, COUNT), np.float32), AFFINE, torch.device("cpu"))
    poses = torch.stack([pose((0, 3.0 * t, 0), (0, 0, 0)) for t in range(COUNT)])
    good = np.arange(COUNT) != 4
    even = through_frames(poses, good, TIMES, NOWHERE)
    model = Model.of(at_rest, Region(Grid(SHAPE, AFFINE), mask, NOWHERE, RADIUS), [BLUR, BLUR, 0])
    for usable in (good, np.ones(COUNT, dtype=bool)):
        found = across_gaps(even, frames, model, TIMES, poses, usable, good)
        torch.testing.assert_close(found.knots, even.knots)

"""A template of frames that hardly move within themselves, and the way back from where it lies."""

import numpy as np
import torch

from tests.motion.slices.test_slices import COUNT, TIMES, TR, acquired, slice_errors, sway
from tests.phantom import AFFINE, RADIUS, SHAPE, f64, head_mask, pose, volume
from unimo_bids.motion.frames import Frames
from unimo_bids.motion.slices.calm import calm_template
from unimo_bids.motion.slices.fitting import SliceProblem
from unimo_bids.motion.slices.trajectory import Trajectory, through_frames
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.region import Region

HEAD = Region(Grid(SHAPE, AFFINE), head_mask().float(), f64([0, 0, 0.0]), RADIUS)
ALL = np.ones(COUNT, dtype=bool)


def frames_of(series):
    return Frames(series, AFFINE, torch.device("cpu"))


def test_frames_that_nod_have_no_part_in_it(at_rest):
    """Two of eight nod, by 12°; six at rest are averaged, the middle half of them."""
    times = torch.arange(COUNT * 12 + 1).double() / 12 * TR
    nods = torch.isin((times / TR).long(), torch.tensor([1, 4]))
    angle = torch.sin(torch.pi * times / TR).abs() * nods * (12 * torch.pi / 180)
    turn = angle[:, None] * f64([1.0, 0.0, 0.0])
    way = Trajectory(times, rigid.from_parameters(turn, torch.zeros_like(turn)), HEAD.center)
    given = torch.full(SHAPE, 7.0)
    made = calm_template(frames_of(acquired(way)), given, HEAD, way, TIMES, ALL)
    inside = HEAD.weights > 0.9
    # of noise of 0.5, the middle half of six leaves less than the mean of two would
    assert float((made - at_rest)[inside].square().mean().sqrt()) < 0.5 / np.sqrt(2)
    assert float(made[0, 0, 0]) == 7.0


def test_a_template_that_lies_elsewhere_does_not_move_the_trajectory():
    way = sway(1.0, 1.0)
    poses = way.at(torch.arange(COUNT) * TR + TIMES.middle)
    start = through_frames(poses, ALL, TIMES, HEAD.center)
    elsewhere = volume(pose((0.5, -0.4, 0.3), (0.2, -0.1, 0.3)))  # by 0.5 mm on the surface
    problem = SliceProblem(frames_of(acquired(way)), elsewhere, HEAD, TIMES, ALL, ALL)
    found = problem.refit(start, poses, start).trajectory
    by_slices = torch.stack([found.at(TIMES.of(t)) for t in range(COUNT)]).numpy()
    # a tenth of it: heads turn within frames, whose pose is then that of no slice
    assert float(slice_errors(by_slices, way).median()) < 0.05

"""A head that moves while its frames are acquired: the phantom, exact at any pose of any slice."""

import numpy as np
import pytest
import torch

from tests.phantom import (
    AFFINE,
    RADIUS,
    SHAPE,
    f64,
    grid_affine,
    head_mask,
    noise,
    pose,
    random_poses,
    volume,
)
from unimo_bids.motion.correction import correct_series
from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.motion.estimation import estimate_motion
from unimo_bids.motion.slices.estimation import (
    correct_slices,
    estimate_slices,
    may_move_within,
)
from unimo_bids.motion.slices.judge import better_held_out, clearly_better
from unimo_bids.motion.slices.rebuilding import rebuild
from unimo_bids.motion.slices.solving import SliceEquations, State
from unimo_bids.motion.slices.trajectory import SliceTimes, Trajectory
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.warp import Rigid, SliceWise

COUNT, TR = 8, 2.0
ORDER = np.argsort(np.r_[0 : SHAPE[2] : 2, 1 : SHAPE[2] : 2])  # interleaved
TIMES = SliceTimes(2, ORDER / SHAPE[2] * TR, TR)


def acquired(way: Trajectory, sigma: float = 0.5, first: int = 0) -> np.ndarray:
    """Frames ``(X, Y, Z, T)``, every slice rendered at its own pose; frame 0 rests."""
    frames = []
    for t in range(COUNT):
        poses = way.at(TIMES.of(t))
        slices = []
        for k, own in enumerate(poses):
            slab = AFFINE.clone()
            slab[:3, 3] += k * AFFINE[:3, 2]
            slices.append(volume(own, slab, (*SHAPE[:2], 1))[..., 0])
        frames.append(torch.stack(slices, dim=-1))
    series = torch.stack(frames, dim=-1)
    return (series + noise(series.shape, sigma, seed=first)).numpy()


def sway(degrees: float, shift: float) -> Trajectory:
    """Turning to and fro; at rest during the first frame."""
    times = torch.arange(0, COUNT * TR + 0.01, 0.1, dtype=torch.float64)
    swing = torch.sin((times - TR).clamp(min=0) * 0.5)[:, None]
    turn = swing * f64([0.3, 1.0, -0.5]) * degrees * torch.pi / 180
    return Trajectory(
        times, rigid.from_parameters(turn, swing * f64([0.5, -1.0, 0.8]) * shift), f64([0, 0, 0.0])
    )


def slice_errors(poses: np.ndarray, way: Trajectory) -> torch.Tensor:
    """Mean displacement on the head's surface of every slice ``(T, S)``, mm."""
    arms = torch.cat([torch.eye(3), -torch.eye(3)]).double() * RADIUS
    true = torch.stack([way.at(TIMES.of(t)) for t in range(COUNT)])
    apart = rigid.transform(torch.from_numpy(poses), arms) - rigid.transform(true, arms)
    return apart.norm(dim=-1).mean(dim=-1)


@pytest.fixture(scope="module")
def moving(mask):
    """A series of a swaying head, its motion frame by frame and slice by slice."""
    way = sway(8.0, 6.0)
    series = acquired(way)
    motion = estimate_motion(series, AFFINE.numpy(), mask=mask.numpy(), reference=0)
    return way, series, motion, estimate_slices(series, AFFINE.numpy(), motion, TIMES)


@pytest.mark.slow
def test_slices_are_found_where_they_were(moving):
    way, _, motion, found = moving
    by_frame = slice_errors(np.repeat(motion.poses[:, None], SHAPE[2], axis=1), way)
    by_slice = slice_errors(found.poses, way)
    assert float(by_slice.median()) < 0.4 * float(by_frame.median())
    assert float(by_slice.median()) < 0.25
    assert found.explained.all() and not found.whole[2:].any()
    assert (found.held_out[2:] > 0).all()
    # a deviation is a root mean square over directions, an error a mean over six points
    ratio = by_slice[2:] / torch.from_numpy(found.deviations[2:])
    assert 0.2 < float(ratio.nanmedian()) < 3
    within = found.within_frames(RADIUS)
    # at rest, but its last slices share a knot with the first of the next frame
    assert within[0] < 1.2 and within[2:].min() > 1.0


@pytest.mark.slow
def test_slices_told_in_another_order_than_they_were_acquired(moving):
    way, series, motion, found = moving
    assert found.other_order == ""
    by_frame = slice_errors(np.repeat(motion.poses[:, None], SHAPE[2], axis=1), way)
    ascending = np.arange(SHAPE[2]) / SHAPE[2] * TR
    for offsets in (ascending, TIMES.offsets[::-1].copy()):
        told = SliceTimes(2, offsets, TR)
        wrong = estimate_slices(series, AFFINE.numpy(), motion, told)
        assert wrong.other_order == "even ones first, up"
        assert float(slice_errors(wrong.poses, way).median()) < 1.01 * float(by_frame.median())


@pytest.mark.slow
def test_frames_made_from_slices_are_those_of_a_head_at_rest(moving, at_rest, mask):
    _, series, motion, found = moving
    inside = mask.numpy() > 0.9

    def errors(frames):
        return np.array([np.sqrt(np.mean((f - at_rest.numpy())[inside] ** 2)) for f in frames])

    frames = correct_slices(series, AFFINE.numpy(), found.poses, found.gains, TIMES.axis)
    made, coverage = zip(*frames, strict=True)
    by_frame = errors(correct_series(series, AFFINE.numpy(), motion.poses))
    assert np.median(errors(made)[1:]) < 0.6 * np.median(by_frame[1:])
    assert min(float((one[inside] > 0.5).mean()) for one in coverage) > 0.98
    # and so they are in another space, without a second resampling
    turn = random_poses(1, 20.0, 4.0, seed=5)[0]
    there = correct_slices(
        *(series, AFFINE.numpy(), found.poses, found.gains, TIMES.axis),
        onto=Grid(SHAPE, AFFINE),
        space=Rigid(turn),
    )
    expected, seen = volume(rigid.inverse(turn)).numpy(), head_mask(turn @ AFFINE) > 0.9
    found_there = [np.sqrt(np.mean((one - expected)[seen] ** 2)) for one, _ in there]
    assert np.median(found_there[1:]) < 1.1 * np.median(errors(made)[1:])


@pytest.mark.slow
def test_a_head_at_rest_stays_at_rest(mask):
    way = sway(0.0, 0.0)
    series = acquired(way)
    motion = estimate_motion(series, AFFINE.numpy(), mask=mask.numpy(), reference=0)
    found = estimate_slices(series, AFFINE.numpy(), motion, TIMES)
    # where slices have nothing to say, nothing changes
    assert found.whole.all()
    np.testing.assert_array_equal(found.poses, np.repeat(motion.poses[:, None], SHAPE[2], axis=1))


@pytest.mark.slow
def test_a_jump_within_a_frame_is_found_in_its_time(mask):
    jump = (4 + 0.3) * TR
    times = f64([0.0, jump - 1e-3, jump + 1e-3, COUNT * TR])
    turned = pose((0, 18, 6), (4.0, 0.0, 2.0))
    rest = torch.eye(4, dtype=torch.float64)
    way = Trajectory(times, torch.stack([rest, rest, turned, turned]), f64([0, 0, 0.0]))
    series = acquired(way)
    motion = estimate_motion(series, AFFINE.numpy(), mask=mask.numpy(), reference=0)
    found = estimate_slices(series, AFFINE.numpy(), motion, TIMES)
    errors = slice_errors(found.poses, way)
    far = (TIMES.of(4) - jump).abs() > TR / 8  # the time between two knots
    assert float(errors[4][far].median()) < 0.8
    assert float(errors[[0, 1, 2, 6, 7]].median()) < 0.1


def test_knots_are_where_packets_of_slices_are():
    packets = SliceTimes(2, np.tile([0.5, 1.5], 4), TR)
    np.testing.assert_array_equal(packets.knots(2), [0.5, 1.5])
    np.testing.assert_array_equal(packets.knots(8), [0.5, 1.5])
    np.testing.assert_array_equal(TIMES.knots(2), [0.0, TR / 2])


def test_frames_at_rest_keep_one_pose_beside_frames_that_nod():
    nodding = np.tile([6.0, 0.4, 0.7, 1.6], 25)
    np.testing.assert_array_equal(clearly_better(nodding, np.ones(100, bool)), nodding == 6)
    # but where most move, one that gains little is no exception
    assert clearly_better(np.array([5.0, 4.0, 0.4, 3.0, -0.4]), np.ones(5, bool))[2]


def test_what_a_slice_says_of_itself_does_not_count():
    """A slice's own shift by d, of variance 1, costs nothing in the fit; unseen, d²/2 more."""
    h, seen = torch.zeros(1, 6, 6, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
    h[0, 3, 3] = 1.0
    seen[3] = 2.0  # at the pose of the others, the slice asks to be moved by 2 mm
    prior = 0.25 * torch.eye(6, dtype=torch.float64)  # of the others: certain to 2 mm
    # with all observations at the optimum, P = (prior + H)⁻¹, and the others pull as hard back
    covariance = torch.linalg.inv(prior + h)[None]
    fitted, one_pose = (State(2, 1, 1) for _ in range(2))
    step = covariance[0, 0] @ seen
    left = seen - h[0] @ step
    cost = 0.5 * (2.0 - step[3]) ** 2
    only, gains = torch.tensor([0]), torch.ones(1)
    fitted.keep(only, only, SliceEquations(h, left[None], cost[None]), gains)
    # ½ · 2²: the others' pose
    one_pose.keep(only, only, SliceEquations(h, seen[None], f64([2.0])), gains)
    gain = better_held_out(fitted, one_pose, covariance)
    assert float(gain[0, 0]) == pytest.approx(0.0, abs=1e-3)


def test_a_trajectory_is_even_between_its_knots():
    knots = torch.stack([pose((0, 0, angle), (angle, 0.0, 0.0)) for angle in (0.0, 10.0, 30.0)])
    way = Trajectory(f64([0.0, 1.0, 3.0]), knots, f64([0.0, 0.0, 0.0]))
    found = way.at(f64([-1.0, 0.5, 2.0, 5.0]))
    expected = [pose((0, 0, angle), (angle, 0.0, 0.0)) for angle in (0.0, 5.0, 20.0, 30.0)]
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-12)
    bends, _ = way.bends(RADIUS)  # of equal speed before and after there is none
    torch.testing.assert_close(bends[:, 5], f64([0.0]), rtol=0, atol=1e-9)


def test_at_rest_a_rebuilt_frame_is_the_frame():
    shape = (10, 11, 12)
    grid = Grid(shape, grid_affine(shape=shape))
    frame = torch.randn(2, *shape).cumsum(dim=1)[0]
    rest = torch.eye(4, dtype=torch.float64).repeat(12, 1, 1)
    for axis, slices in ((2, 12), (0, 10)):
        warp = SliceWise(grid, axis, rest[:slices])
        made = rebuild(frame, warp, torch.ones(slices), grid.points())
        found, coverage = (part.reshape(shape) for part in made)
        inner = found[1:-1, 1:-1, 1:-1]
        smooth = frame[1:-1, 1:-1, 1:-1]
        assert float(torch.corrcoef(torch.stack([inner.flatten(), smooth.flatten()]))[0, 1]) > 0.9
        assert float(coverage[2:-2, 2:-2, 2:-2].min()) > 0.95


def test_what_no_slice_came_near_is_not_invented():
    shape = (8, 8, 20)
    grid = Grid(shape, grid_affine(shape=shape))
    gap = torch.eye(4, dtype=torch.float64).repeat(20, 1, 1)
    gap[10:, 2, 3] = -12.0  # the upper half moved down by four slices: it saw what is above it
    made = rebuild(torch.ones(shape), SliceWise(grid, 2, gap), torch.ones(20), grid.points())
    found, coverage = (part.reshape(shape) for part in made)
    assert float(coverage[4, 4, 11:13].max()) < 0.5 and float(found[4, 4, 11:13].abs().max()) == 0
    assert float(found[4, 4, 5]) == pytest.approx(1, abs=0.02)


def test_slice_times_of_another_length_are_refused(moving):
    _, series, motion, _ = moving
    with pytest.raises(ValueError, match="7 slice times for 30 slices"):
        estimate_slices(series, AFFINE.numpy(), motion, SliceTimes(2, np.arange(7.0), TR))


def test_where_frames_stand_still_slices_are_not_looked_at():
    def motion(steps, status="ok"):
        poses = np.tile(np.eye(4), (40, 1, 1))
        poses[:, 0, 3] = np.cumsum(steps)
        return MotionEstimate(
            poses, np.zeros((40, 6, 6)), np.ones(40), np.array([status] * 40), np.zeros((1, 1, 1)),
            np.zeros((1, 1, 1)), 0, np.zeros(3), 50.0,
        )  # fmt: skip

    once = np.zeros(40)
    once[20] = 5.0  # two frames beside it: a twentieth, and no more
    assert not may_move_within(motion(0.2 * np.ones(40)))
    assert not may_move_within(motion(once))
    assert may_move_within(motion(0.3 * np.ones(40)))
    assert may_move_within(motion(np.zeros(40), "lost"))

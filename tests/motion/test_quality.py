import math

import numpy as np
import pytest
import torch

from tests.phantom import RADIUS, error_mm, f64, pose, random_poses
from unimo_bids.motion.quality import bridge, similarity_threshold, warnings_of
from unimo_bids.spatial import rigid

CENTER = f64([3.0, -5.0, 8.0])


@pytest.mark.parametrize("level", [0.8, 0.95, 0.995])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.49])
def test_the_threshold_parts_good_frames_from_failed(level, share):
    rng = np.random.default_rng(1)
    count, failed = 200, int(200 * share)
    # Fisher's z: good frames scatter by 0.1, failed ones lie two and more units below
    z = np.arctanh(level) + 0.1 * rng.standard_normal(count)
    z[:failed] = np.maximum(np.arctanh(level) - 2 - np.abs(rng.standard_normal(failed)), 0)
    similarity = rng.permuted(np.tanh(z))
    threshold = similarity_threshold(similarity)
    if level == 0.8:  # z of 1.1: two units below there is only nothing
        assert threshold >= 0.3
    assert int((similarity < threshold).sum()) == failed


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_threshold_looks_at_numbers_only(bad):
    similarity = np.linspace(0.9, 0.95, 20)
    assert similarity_threshold(np.append(similarity, bad)) == similarity_threshold(similarity)
    assert similarity_threshold(np.array([bad])) == 0.0


@pytest.mark.parametrize(("common", "low", "high"), [(0.1, 0.25, 0.35), (0.9999, 0.85, 0.95)])
def test_some_likeness_is_never_enough_and_some_always(common, low, high):
    # a third is no likeness; a frame explained to nine tenths has not failed, however good others
    assert low < similarity_threshold(np.full(50, common)) < high


@pytest.fixture
def steady():
    """A constant motion about CENTER in nine frames, and covariances."""
    turn, shift = f64([0.05, -0.02, 0.03]), f64([0.4, 0.1, -0.3])
    poses = torch.stack([rigid.from_parameters(t * turn, t * shift, CENTER) for t in range(9)])
    return poses, torch.diag(f64([1e-6] * 3 + [1e-3] * 3)).repeat(9, 1, 1)


def flags(count, failed):
    good = np.ones(count, dtype=bool)
    good[list(failed)] = False
    return good


@pytest.mark.parametrize("failed", [[4], [3, 4, 5], [1, 6, 7], [2, 3, 4, 5]])
def test_a_bridge_is_the_steady_motion_and_leaves_good_frames(steady, failed):
    poses, covariance = steady
    good = flags(9, failed)
    ruined = poses.clone()
    ruined[failed] = random_poses(len(failed), 90, 50)
    ruined_covariance = covariance.clone()
    ruined_covariance[failed] = torch.nan
    found, spread, bridged = bridge(
        ruined, ruined_covariance, good, np.where(good, 0.99, np.nan), CENTER, RADIUS
    )
    assert torch.equal(found[good], poses[good])
    assert torch.equal(spread[good], covariance[good])
    assert np.array_equal(bridged, ~good)
    # roundings of a logarithm and an exponential at some 10 mm
    torch.testing.assert_close(found, poses, rtol=0, atol=1e-11)
    # less is known of them than of any good frame
    excess = spread[failed].diagonal(dim1=1, dim2=2) - covariance[0].diagonal()
    assert bool((excess > 0).all())


def test_half_way_is_half_the_turn_and_half_the_shift():
    ends = torch.stack([torch.eye(4).double(), pose((0, 0, 60), (0, 0, 0))])
    ends[1] = rigid.from_parameters(f64([0, 0, math.pi / 3]), f64([4.0, -2, 6]), CENTER)
    poses = torch.stack([ends[0], random_poses(1, 90, 9)[0], ends[1]])
    found, spread, _ = bridge(
        poses, torch.zeros(3, 6, 6).double(), flags(3, [1]), np.full(3, np.nan), CENTER, RADIUS
    )
    expected = rigid.from_parameters(f64([0, 0, math.pi / 6]), f64([2.0, -1, 3]), CENTER)
    torch.testing.assert_close(found[1], expected, rtol=0, atol=1e-12)
    # half the step it spans is one standard deviation, at least
    assert bool(
        (spread[1].diagonal() >= f64([0, 0, math.pi / 3, 4, -2, 6]).square() / 4 - 1e-12).all()
    )


def test_gaps_that_are_long_or_have_one_end_are_not_believed(steady):
    poses, covariance = steady
    failed = [0, 2, 3, 4, 5, 6, 8]
    found, _, bridged = bridge(
        poses, covariance, flags(9, failed), np.full(9, np.nan), CENTER, RADIUS
    )
    assert not bridged.any()
    assert torch.equal(found[0], poses[1])
    assert torch.equal(found[8], poses[7])


def test_a_failed_frame_keeps_as_much_of_its_pose_as_explains_it(steady):
    poses, covariance = steady
    own = poses.clone()
    own[4] = pose((2, 1, -1), (1, 2, 0)) @ poses[4]
    away = []
    for score in (0.0, 0.5, 0.9, 0.99, 1.0):
        scores = np.full(9, 0.99)
        scores[4] = score
        found, _, _ = bridge(own, covariance, flags(9, [4]), scores, CENTER, RADIUS)
        assert torch.equal(found[:4], poses[:4])
        away.append(float(error_mm(found, own)[4]))
    assert away == sorted(away, reverse=True)
    assert away[0] > away[-1] + 1
    assert away[-1] < 1e-9  # an explained frame is where it is found


@pytest.mark.parametrize("score", [0.0, 0.8, np.nan])
def test_between_frames_at_rest_a_failed_frame_rests(score):
    own = torch.eye(4).double().repeat(5, 1, 1)
    own[2] = pose((5, 0, 0), (1, 2, 0))
    scores = np.array([0.99, 0.99, score, 0.99, 0.99])
    spread = 1e-6 * torch.eye(6).double().repeat(5, 1, 1)
    found, _, bridged = bridge(own, spread, flags(5, [2]), scores, CENTER, RADIUS)
    assert float(error_mm(found[2], torch.eye(4).double())) < 1e-9  # roundings
    assert bridged.tolist() == [False, False, True, False, False]


def test_lost_frames_are_warned_of():
    assert warnings_of(["ok", "bridged", "searched"]) == []
    (said,) = warnings_of(["lost", "ok", "lost"])
    assert said.startswith("2 of 3 frames could not be registered (0, 2)")

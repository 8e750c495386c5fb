"""A reference that was asked for and is unlike all others: do these still agree?"""

import numpy as np
import pytest
import torch

from tests.phantom import AFFINE, SHAPE, error_mm, head_mask, noise, random_poses, volume
from unimo_bids.motion.estimation import estimate_motion, refine_tracking, track
from unimo_bids.motion.reference import head_from, told_from
from unimo_bids.motion.scan import read_scan
from unimo_bids.motion.settings import MotionSettings
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid, world_points
from unimo_bids.spatial.region import Region

COUNT = 8
MASK = head_mask().numpy() > 0.5
QUICK = MotionSettings(search=False, network=False)  # vain, and slow, with such a reference


@pytest.fixture(scope="module")
def drawn():
    """Frames of a head that begins 6 mm beside the others."""
    poses = random_poses(COUNT, 2.0, 2.0, seed=3)
    poses[1:, 1, 3] += 6.0
    poses[0] = torch.eye(4)
    frames = torch.stack([volume(pose) for pose in poses])
    return frames + noise(frames.shape, 0.7, 3) + 5, poses


def estimated(frames, mask=MASK):
    series = np.ascontiguousarray(frames.permute(1, 2, 3, 0).numpy())
    return estimate_motion(series, AFFINE.numpy(), mask=mask, reference=0, settings=QUICK)


def among(found, poses):
    """Largest error, mm, up to a motion common to all but the reference."""
    others = torch.from_numpy(found.poses)[1:]
    same = others @ rigid.inverse(others[3])
    return float(error_mm(same, poses[1:] @ rigid.inverse(poses[4])).max())


def lost(frames):
    """The same; the first has 10 % of the signal in front, a third of the head."""
    frames = frames.clone()
    gone = torch.sigmoid((world_points(SHAPE, AFFINE)[:, 1] - 10) / 3).reshape(SHAPE).float()
    frames[0] *= 1 - 0.9 * gone
    return frames


def test_one_that_lost_a_part_of_the_head(drawn):
    frames, poses = drawn
    found = estimated(lost(frames))
    assert found.reference == 0 and "Frame 0, the reference, is unlike" in " ".join(found.findings)
    assert found.status.tolist() == ["ok"] * COUNT
    assert error_mm(torch.from_numpy(found.poses), poses).max() < 0.5
    # the template lies in the reference's space, and at its brightness
    at_rest = volume(poses[0]).numpy() + 5
    assert np.corrcoef(found.template[MASK], at_rest[MASK])[0, 1] > 0.99
    assert abs(found.template[MASK].mean() / at_rest[MASK].mean() - 1) < 0.1


def test_one_that_lost_a_part_with_a_mask_for_each_frame(drawn):
    frames, poses = drawn
    masks = np.stack([volume(pose).numpy() > 40 for pose in poses], axis=-1)
    assert error_mm(torch.from_numpy(estimated(lost(frames), masks).poses), poses).max() < 0.5


def test_one_of_noise_takes_its_place_and_nothing_else(drawn):
    frames, poses = drawn
    frames = frames.clone()
    frames[0] = noise(SHAPE, 20.0, 9).abs()
    found = estimated(frames)
    assert among(found, poses) < 0.3
    assert found.status.tolist() == ["lost"] + ["ok"] * (COUNT - 1)
    deviations = np.sqrt(np.einsum("tii->t", found.covariance[1:, 3:, 3:]))
    assert deviations.min() > 1.0  # nobody knows where the head was in frame 0


def test_one_that_is_like_the_others_is_compared_with(drawn):
    series = np.ascontiguousarray(drawn[0].permute(1, 2, 3, 0).numpy())
    scan = read_scan(series, AFFINE.numpy(), MASK, 0, settings=QUICK)
    assert scan.usual != 0
    tracking = track(scan)
    assert tracking.compared is None
    assert refine_tracking(scan, tracking).findings == ()


def test_what_is_told_from_another_place_is_turned_with_it():
    """A deviation along x is one along y, seen from a head that has turned by 90°."""
    pose = torch.eye(4, dtype=torch.float64)
    pose[:2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    covariance = torch.diag(torch.tensor([1.0, 2, 3, 4, 5, 6])).double()[None]
    grid = Grid.of((9, 9, 9), np.eye(4) - np.array([[0, 0, 0, 4.0]] * 3 + [[0] * 4]))
    image = torch.zeros(9, 9, 9)
    image[7, 4, 4] = 1.0
    head = Region(grid, image, torch.tensor([3.0, 0, 0]).double(), 1.0)
    there = head_from(pose, head)
    torch.testing.assert_close(there.center, torch.tensor([0.0, 3, 0]).double())
    moved, turned = told_from(pose, image, covariance, head, there.center)
    torch.testing.assert_close(turned[0].diagonal(), torch.tensor([2.0, 1, 3, 5, 4, 6]).double())
    assert moved[4, 7, 4] > 0.99 and there.weights[4, 7, 4] > 0.99


def test_deviations_of_a_shift_are_those_at_the_centre_they_are_told_for():
    """Of a turn that is known to 0.02 rad, 50 mm beside its centre shifts are known to 1 mm."""
    grid = Grid.of((9, 9, 9), np.eye(4))
    image = torch.zeros(9, 9, 9)
    head = Region(grid, image, torch.zeros(3).double(), 1.0)
    covariance = torch.diag(torch.tensor([0, 0, 0.02**2, 0, 0, 0])).double()[None]
    beside = torch.tensor([50.0, 0, 0]).double()
    _, told = told_from(torch.eye(4).double(), image, covariance, head, beside)
    turns = torch.tensor([0, 0, 0.02]).double()
    pose = rigid.from_parameters(turns, torch.zeros(3).double(), head.center)
    moved = rigid.transform(pose, beside[None])[0] - beside
    expected = moved[:, None] * moved
    torch.testing.assert_close(told[0, 3:, 3:], expected, atol=0.02, rtol=0)
    assert float(told[0, 4, 4]) == pytest.approx(1.0) and float(told[0, 2, 4]) > 0

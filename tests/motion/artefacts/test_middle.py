"""What goes otherwise than the middle of a head, and is in its mask: it must not draw poses."""

import numpy as np
import torch

from tests.phantom import AFFINE, SHAPE, error_mm, f64, head_mask, noise, random_poses, volume
from unimo_bids.motion.estimation import estimate_motion
from unimo_bids.motion.settings import MotionSettings
from unimo_bids.motion.slices.estimation import estimate_slices
from unimo_bids.motion.slices.trajectory import SliceTimes
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import world_points

COUNT = 8
QUICK = MotionSettings(search=False, network=False)
POINTS = world_points(SHAPE, AFFINE)
POSES = random_poses(COUNT, 4.0, 6.0, seed=3)
POSES[0] = torch.eye(4)


def _depth(points):
    """Below the surface of the head of `tests.phantom`, mm, roughly ``(N,)``."""
    return (1 - torch.linalg.norm(points / f64((33.0, 40.0, 36.0)), dim=-1)) * 36


def _rim(pose, aside):
    """A bright shell of 6 mm that goes with the head, but is seen `aside` (mm) in the scanner."""
    depth = _depth(rigid.transform(rigid.inverse(pose), POINTS - f64(aside)))
    return 150 * (torch.sigmoid(depth) * torch.sigmoid(6 - depth)).reshape(SHAPE).float()


def _depth_in(pose):
    return _depth(rigid.transform(rigid.inverse(pose), POINTS)).reshape(SHAPE)


def _within_what_rests(pose):
    depth = _depth_in(pose)
    waves = torch.sin(POINTS / f64([9.0, 8.0, 10.0]) + f64([0.3, 1.1, 2.0])).sum(dim=-1)
    inside = torch.sigmoid(depth)
    return (inside * volume(pose) + (1 - inside) * (60 + 25 * waves.reshape(SHAPE))).float()


def _series(frames):
    noisy = torch.stack(frames) + noise((len(frames), *SHAPE), 1.0, 5)
    return np.ascontiguousarray(noisy.permute(1, 2, 3, 0).numpy())


def _measured(frames, mask, poses=POSES):
    series = _series(frames)
    found = estimate_motion(series, AFFINE.numpy(), mask=mask, reference=0, settings=QUICK)
    left_out = any("middle of the head" in finding for finding in found.findings)
    return error_mm(torch.from_numpy(found.poses), poses), found, left_out


def test_a_rim_that_is_shifted():
    frames = [volume(pose) + _rim(pose, (0.0, 14.0, 0.0)) for pose in POSES]
    error, found, left_out = _measured(frames, head_mask().numpy() > 0.5)
    assert left_out
    assert found.status.tolist() == ["ok"] * COUNT
    # the rim draws poses by 0.5 to 1 mm; noise alone leaves 0.1
    assert error.max() < 0.3, error
    # the mask that is told is the one that was given
    assert (found.mask > 0.5).sum() >= (head_mask() > 0.5).sum()


def test_a_mask_far_too_wide():
    wide = (_depth(POINTS) > -14).reshape(SHAPE).numpy()
    frames = [_within_what_rests(pose) for pose in POSES]
    error, found, left_out = _measured(frames, wide)
    assert left_out
    assert error.max() < 0.3, error  # millimetres, by all that the mask holds
    # nor do slices look there: they would find motion within frames that are at rest
    times = SliceTimes(2, np.arange(SHAPE[2]) * 2.0 / SHAPE[2], 2.0)
    slices = estimate_slices(_series(frames), AFFINE.numpy(), found, times)
    assert not slices.worth(found)
    assert slices.other_order == ""


def test_surroundings_that_pass_for_changing_contrast():
    wide = (_depth(POINTS) > -14).reshape(SHAPE).numpy()
    poses = random_poses(12, 4.0, 6.0, seed=9)
    poses[0] = torch.eye(4)
    error, _, left_out = _measured([_within_what_rests(pose) for pose in poses], wide, poses)
    assert left_out
    assert error.max() < 0.3, error  # 6 mm


def test_a_middle_without_signal():
    frames = [volume(pose) * (_depth_in(pose) < 14) for pose in POSES]
    series = np.ascontiguousarray(torch.stack(frames).permute(1, 2, 3, 0).numpy())
    mask = head_mask().numpy() > 0.5
    found = estimate_motion(series, AFFINE.numpy(), mask=mask, reference=0, settings=QUICK)
    error = error_mm(torch.from_numpy(found.poses), POSES)
    assert found.moving is None
    assert error.max() < 0.15, error


def _spotted():
    """What is left of the signal where a spot of the scanner shows none."""
    away = torch.linalg.norm(POINTS - f64((4.0, 4.0, 0.0)), dim=-1).reshape(SHAPE)
    return (1 - 0.95 * torch.sigmoid((14 - away) / 2)).float()


def test_a_spot_without_signal_that_stays_with_the_scanner():
    frames = [volume(pose) * _spotted() for pose in POSES]
    error, found, told = _measured(frames, head_mask().numpy() > 0.5)
    assert told
    assert found.moving is None
    # the middle, which the spot holds, would draw poses by 14 mm
    assert error.max() < 0.5, error


def test_what_the_middle_contradicts_is_in_the_deviations_of_all_frames():
    # more frames than are judged by, each pose five times, in no cycle
    which = np.append(0, np.random.default_rng(0).permutation(np.arange(1, 40)) % len(POSES))
    frames = [volume(POSES[one]) * _spotted() for one in which]
    _, found, told = _measured(frames, head_mask().numpy() > 0.5, POSES[which])
    assert told
    shifts = np.sqrt(found.covariance[:, [3, 4, 5], [3, 4, 5]].sum(axis=1))
    usual = np.array([np.median(shifts[1:][which[1:] == one]) for one in which])
    # 39 do; 26 did while frames that are not judged by had one constant
    assert (np.abs(shifts / usual - 1)[1:] < 0.05).sum() >= 37


def test_waves_that_stay_with_the_scanner_in_the_middle():
    depth = torch.linalg.norm(POINTS, dim=-1)
    waves = torch.sin(POINTS @ f64([0.6, 0.64, 0.48]) / 4 + 1) * torch.sigmoid((28 - depth) / 2)
    pattern = (1 + 0.1 * waves.reshape(SHAPE)).float()
    frames = [volume(pose) * pattern for pose in POSES]
    error, found, _ = _measured(frames, head_mask().numpy() > 0.5)
    assert any("disagrees with itself" in finding for finding in found.findings)
    assert found.moving is None
    # the middle, where the waves are, would draw poses by 1.2 mm (median) and 3.4 mm
    assert error.max() < 0.8, error
    deviations = np.sqrt(found.covariance[:, [3, 4, 5], [3, 4, 5]].sum(axis=1))
    assert (error.numpy()[1:] < 3 * deviations[1:]).all(), deviations


def test_nothing_is_left_out_of_a_head_that_is_whole():
    error, found, left_out = _measured([volume(pose) for pose in POSES], head_mask().numpy() > 0.5)
    assert not left_out and found.moving is None
    assert error.max() < 0.15, error

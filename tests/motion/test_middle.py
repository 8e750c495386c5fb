"""What goes otherwise than the middle of a head, and is in its mask: it must not draw poses."""

import numpy as np
import torch

from tests.phantom import AFFINE, SHAPE, error_mm, f64, head_mask, noise, random_poses, volume
from unimo_bids.motion.estimation import estimate_motion
from unimo_bids.motion.settings import MotionSettings
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


def _within_what_rests(pose):
    depth = _depth(rigid.transform(rigid.inverse(pose), POINTS)).reshape(SHAPE)
    waves = torch.sin(POINTS / f64([9.0, 8.0, 10.0]) + f64([0.3, 1.1, 2.0])).sum(dim=-1)
    inside = torch.sigmoid(depth)
    return (inside * volume(pose) + (1 - inside) * (60 + 25 * waves.reshape(SHAPE))).float()


def _measured(frames, mask):
    frames = torch.stack(frames) + noise((COUNT, *SHAPE), 1.0, 5)
    series = np.ascontiguousarray(frames.permute(1, 2, 3, 0).numpy())
    found = estimate_motion(series, AFFINE.numpy(), mask=mask, reference=0, settings=QUICK)
    left_out = any("middle of the head" in finding for finding in found.findings)
    return error_mm(torch.from_numpy(found.poses), POSES), found, left_out


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
    error, _, left_out = _measured([_within_what_rests(pose) for pose in POSES], wide)
    assert left_out
    assert error.max() < 0.3, error  # millimetres, by all that the mask holds


def test_nothing_is_left_out_of_a_head_that_is_whole():
    error, _, left_out = _measured([volume(pose) for pose in POSES], head_mask().numpy() > 0.5)
    assert not left_out
    assert error.max() < 0.15, error

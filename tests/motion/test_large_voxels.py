"""Voxels that are large beside the head: what rests around it must not hold it back."""

from dataclasses import replace

import numpy as np
import torch

from tests.phantom import error_mm, f64, grid_affine, head, noise, random_poses
from unimo_bids.motion.distortion.estimation import estimate_distortion
from unimo_bids.motion.estimation import estimate_motion
from unimo_bids.motion.scan import read_scan
from unimo_bids.motion.settings import MotionSettings
from unimo_bids.registration.pair import register_volumes
from unimo_bids.registration.resolution import mixed
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import world_points

SHAPE = (44, 48, 14)
AFFINE = grid_affine((3.0, 3.0, 9.0), shape=SHAPE)
INSIDE = 4  # places of a slice, whose mean it shows
COUNT = 6
_OF_FRAMES = ("poses", "covariance", "similarity", "status")
QUICK = MotionSettings(search=False, network=False)


def _mask(points):
    """Of the head of `tests.phantom`, 0 … 1."""
    radius = torch.linalg.norm(points / f64((33.0, 40.0, 36.0)), dim=-1)
    return torch.sigmoid((1 - radius) * 33.0)


def _frame(pose):
    """The head at a pose, in slices of 9 mm, within what rests."""
    total = torch.zeros(SHAPE, dtype=torch.float64)
    for part in range(INSIDE):
        affine = AFFINE.clone()
        affine[:3, 3] += AFFINE[:3, 2] * ((part + 0.5) / INSIDE - 0.5)
        points = world_points(SHAPE, affine)
        of_head = rigid.transform(rigid.inverse(pose), points)
        waves = torch.sin(points / f64([13.0, 11.0, 17.0]) + f64([0.3, 1.1, 2.0])).sum(dim=-1)
        mask = _mask(of_head)
        total += (mask * head(of_head) + (1 - mask) * (70 + 12 * waves)).reshape(SHAPE)
    return (total / INSIDE).float()


def test_a_head_in_thick_slices_within_what_rests():
    poses = random_poses(COUNT, 8.0, 5.0, seed=4)
    poses[0] = torch.eye(4)
    frames = torch.stack([_frame(pose) for pose in poses])
    frames += noise(frames.shape, 1.0, 5)
    series = np.ascontiguousarray(frames.permute(1, 2, 3, 0).numpy())
    mask = (_mask(world_points(SHAPE, AFFINE)) > 0.5).reshape(SHAPE).numpy()
    found = estimate_motion(series, AFFINE.numpy(), mask=mask, reference=0, settings=QUICK)
    assert found.status.tolist() == ["ok"] * COUNT
    error = error_mm(torch.from_numpy(found.poses), poses)
    assert error.max() < 1.5, error  # held back by what rests: 3 to 5 mm
    twice = {name: np.concatenate([getattr(found, name)] * 2) for name in _OF_FRAMES}
    again = replace(found, **twice)
    bent = estimate_distortion(np.tile(series, 2), AFFINE.numpy(), again, 1, "epi")
    assert bent.distortion is None and "voxels are so large" in bent.finding


def test_a_pair_of_thick_volumes_within_what_rests():
    poses = random_poses(2, 6.0, 5.0, seed=6)
    volumes = [(_frame(pose) + noise(SHAPE, 1.0, 7 + t)).numpy() for t, pose in enumerate(poses)]
    points = world_points(SHAPE, AFFINE)
    masks = [
        (_mask(rigid.transform(rigid.inverse(pose), points)) > 0.5).reshape(SHAPE).numpy()
        for pose in poses
    ]
    affine = AFFINE.numpy()
    found = register_volumes(
        volumes[0],
        affine,
        volumes[1],
        affine,
        fixed_mask=masks[0],
        moving_mask=masks[1],
        network=False,
    )
    onward = poses[1] @ rigid.inverse(poses[0])
    error = error_mm(torch.from_numpy(found.pose)[None], onward[None])
    assert error.max() < 3, error  # held back by what rests: 6.6 mm


def test_only_where_voxels_are_large():
    points = world_points(SHAPE, AFFINE)
    mask = (_mask(points) > 0.5).reshape(SHAPE).numpy()
    series = np.repeat(_frame(torch.eye(4).double()).numpy()[..., None], 3, axis=-1)
    thick = read_scan(series, AFFINE.numpy(), mask, 0)
    assert mixed(thick.head) and thick.fine.blur < 0.7 * 9
    thin = AFFINE.numpy() @ np.diag([1.0, 1.0, 1 / 3, 1.0])
    usual = read_scan(series, thin, mask, 0)
    assert not mixed(usual.head) and usual.fine.blur == 0.7 * 3

"""Frames of different contrast, tied in pairs."""

import numpy as np
import pytest
import torch

from tests.phantom import (
    AFFINE,
    GRID,
    RADIUS,
    SHAPE,
    error_mm,
    fine_level,
    head_mask,
    noise,
    random_poses,
    volume,
)
from unimo_bids.brain.head import find_head
from unimo_bids.motion.contrast.ties import Tying
from unimo_bids.motion.frames import Frames
from unimo_bids.registration.levels import make_level
from unimo_bids.spatial.grid import voxel_centers

COUNT = 6
# bright ventricles in dark tissue, the other way round, and between: no gain makes one of another
GAINS = [(1.0, 1.0, 1.0), (1.0, -1.0, 1.5), (1.0, 1.0, 1.0), (1.0, 2.0, -1.0), (1.0, -1.0, 1.5)]
GAINS += [(1.0, 2.0, -1.0)]


def tied(sensitivity=None, nothing_in=None):
    poses = random_poses(COUNT, 4.0, 4.0, seed=5)
    poses[0] = torch.eye(4)
    frames = torch.stack([volume(p, gains=g) for p, g in zip(poses, GAINS, strict=True)])
    if sensitivity is not None:
        frames = frames * sensitivity
    frames = frames + noise(frames.shape, 1.0, seed=3)
    if nothing_in is not None:
        frames[nothing_in] = noise(SHAPE, 30.0, seed=4)
    read = Frames(frames.permute(1, 2, 3, 0).numpy(), AFFINE, torch.device("cpu"))
    head = find_head(frames[0], GRID, np.asarray(head_mask() > 0.5), largest=105.0)
    coarse = make_level(GRID, blur=5.0, spacing=6.0)
    even = read.evened(0.25 * RADIUS)
    tying = Tying(even, head, coarse, fine_level(), (8_192, 20_000), 0.005)
    rest = torch.eye(4, dtype=torch.float64).repeat(COUNT, 1, 1)
    found, similarity = tying(0, rest, np.ones(COUNT, dtype=bool))
    return error_mm(found, poses), similarity, error_mm(rest, poses)


@pytest.mark.parametrize("field", ["none", "of a coil"])
def test_frames_of_any_contrast_are_tied(field):
    x = voxel_centers(SHAPE, "cpu").reshape(*SHAPE, 3)[..., 0] / SHAPE[0]
    error, similarity, undone = tied(None if field == "none" else 0.5 + x)
    assert (similarity > 0).all()
    # a start: where a tissue begins, in an image of another contrast, is known to half a voxel
    assert float(error.max()) < 2.0 < float(undone[1:].min()) / 2


def test_a_frame_without_a_head_is_tied_to_nothing():
    error, similarity, _ = tied(nothing_in=3)
    assert similarity[3] == 0
    others = np.arange(COUNT) != 3
    assert (similarity[others] > 0).all() and float(error[others].max()) < 2.0

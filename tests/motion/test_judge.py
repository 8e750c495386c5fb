"""Judging poses without a model of intensity."""

import numpy as np
import pytest
import torch

from tests.phantom import AFFINE, GRID, head_mask, random_poses, volumes
from unimo_bids.brain.head import find_head
from unimo_bids.motion.frames import Frames
from unimo_bids.motion.judge import Judge, clear


@pytest.fixture(scope="module", params=["one contrast", "inverted and curved contrasts"])
def judged(request):
    """A judge of eight frames, and their true poses."""
    poses = random_poses(8, degrees=4, shift=3)
    frames = volumes(poses)
    if request.param != "one contrast":
        frames[1::3] = -2 * frames[1::3] + 5
        frames[2::3] = (frames[2::3] / frames.amax()).clamp(min=0).sqrt()
    series = frames.permute(1, 2, 3, 0).numpy()
    read = Frames(series, AFFINE, torch.device("cpu"))
    head = find_head(frames[0], GRID, np.asarray(head_mask() > 0.5), largest=105.0)
    return Judge(read, head, np.ones(8, dtype=bool)), poses


@pytest.mark.parametrize("millimetres", [0.5, 2.0])
def test_right_poses_agree_better_than_poses_beside_them(judged, millimetres):
    judge, poses = judged
    beside = poses.clone()
    beside[::2, 0, 3] += millimetres
    assert clear(*judge.gain(poses, beside))
    assert not clear(*judge.gain(beside, poses))


def test_a_frame_left_at_another_pose_is_told_which_suits_it_better(judged):
    judge, poses = judged
    wrong = poses.clone()
    wrong[4] = poses[5]
    (readings,) = judge.read(wrong)
    others = torch.stack([poses.roll(1, 0), poses], dim=1)
    better = judge.better(readings, others)
    assert better[4] == 1
    assert (np.delete(better, 4) == -1).all()

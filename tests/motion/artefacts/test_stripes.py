"""Slices that are dim in every frame, others in each: they must not draw poses."""

import numpy as np
import torch

from tests.phantom import AFFINE, SHAPE, error_mm, head_mask, noise, random_poses, volume
from unimo_bids.motion.estimation import estimate_motion
from unimo_bids.motion.settings import MotionSettings

COUNT = 12


def test_two_of_five_slices_all_but_gone():
    poses = random_poses(COUNT, 4.0, 6.0, seed=3)
    poses[0] = torch.eye(4)
    rng = np.random.default_rng(4)
    dim = rng.random((COUNT, 1, 1, SHAPE[2])) < 0.4
    gains = np.where(dim, rng.uniform(0.05, 0.7, dim.shape), 1.0)
    frames = torch.stack([volume(pose) for pose in poses]) * torch.from_numpy(gains).float()
    series = (frames + noise(frames.shape, 1.0, 5)).permute(1, 2, 3, 0).numpy()
    found = estimate_motion(
        np.ascontiguousarray(series),
        AFFINE.numpy(),
        mask=head_mask().numpy() > 0.5,
        reference=0,
        settings=MotionSettings(network=False),
    )
    error = error_mm(torch.from_numpy(found.poses), poses).numpy()
    assert any("brightness of slices" in one for one in found.findings)
    assert np.isin(found.status, ("ok", "searched")).sum() >= COUNT - 2
    assert np.median(error) < 0.3, error
    assert (error < 1.0)[found.status == "ok"].all(), error

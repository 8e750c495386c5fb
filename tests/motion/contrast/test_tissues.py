"""Frames in which what is bright is brighter than in the others."""

import numpy as np
import pytest
import torch

from tests.phantom import AFFINE, SHAPE, error_mm, noise, random_poses, volume
from unimo_bids.motion.contrast.tissues import by_tissues
from unimo_bids.motion.refinement import refine_to_template
from unimo_bids.motion.scan import read_scan
from unimo_bids.motion.tracking import Track
from unimo_bids.motion.ways import Way

COUNT = 8


@pytest.mark.parametrize("brighter", [0.6, 0.0])
def test_bright_tissue_that_brightens_is_no_motion(mask, brighter):
    poses = random_poses(COUNT, 2.0, 2.0, seed=3)
    poses[0] = torch.eye(4)
    frames = torch.stack([volume(p) for p in poses])
    bright = frames > torch.quantile(frames[0][mask > 0.5], 0.6)
    bright[: COUNT // 2] = False
    frames = frames * (1 + brighter * bright) + noise((COUNT, *SHAPE), 0.7, seed=5) + 5
    scan = read_scan(frames.permute(1, 2, 3, 0).numpy(), AFFINE.numpy(), mask.numpy(), 0)
    track = Track(poses.clone(), np.ones(COUNT), np.zeros(COUNT, dtype=bool))
    with torch.inference_mode():
        scan, plain, image, _ = refine_to_template(scan, track)
        before = error_mm(plain.poses, poses).numpy()
        way, told = by_tissues(scan, Way(plain, image, track))
    after = error_mm(way.refined.poses, poses).numpy()
    if brighter:
        assert before[COUNT // 2 :].min() > 0.3, "drawn aside by one image"
        assert after.max() < 0.5 * before.max() and told
    else:
        assert not told and (after == before).all()

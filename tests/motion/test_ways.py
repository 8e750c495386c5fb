"""Poses that are judged by other frames."""

import numpy as np
import torch
from scipy import ndimage

from tests.phantom import AFFINE, SHAPE, error_mm, head_mask, random_poses, volume
from unimo_bids.motion.judge import Judge
from unimo_bids.motion.refinement import refine
from unimo_bids.motion.scan import read_scan
from unimo_bids.motion.tracking import Track
from unimo_bids.motion.ways import Way, do_no_harm

WRONG = [2, 3, 6, 7]  # of nine


def test_frames_that_are_wrong_together_are_asked_by_those_that_are_explained_better():
    """All of them look at surroundings that rest beside the head, and are alike there."""
    poses = random_poses(9, degrees=3, shift=2)
    poses[0] = torch.eye(4)
    beside = (30, *SHAPE[1:])  # voxels along the first axis
    frames = np.stack([volume(p, shape=(66, *SHAPE[1:])).numpy() for p in poses], axis=-1)
    texture = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=beside), 1.5)
    frames[36:] = 300 * texture[..., None]
    mask = np.zeros(frames.shape[:3], dtype=bool)
    mask[:36] = head_mask().numpy() > 0.5
    scan = read_scan(frames, AFFINE.numpy(), mask, 0)
    image = scan.reference_image[None]
    refined = refine(scan, image, poses, scan.usable)
    wrong = torch.eye(4, dtype=torch.float64)
    wrong[0, 3] = 95.0  # mm
    refined.poses[WRONG] = wrong
    refined.similarity[WRONG] = 0.4
    judge = Judge(scan.frames, scan.head, scan.usable)
    (readings,) = judge.read(refined.poses)
    way = Way(refined, image, Track(poses, refined.similarity, np.zeros(9, dtype=bool)))
    do_no_harm(scan, judge, way, readings)
    assert error_mm(refined.poses, poses).max() < 0.15

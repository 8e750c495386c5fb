"""A group of frames of one contrast, placed beside the others."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.phantom import AFFINE, SHAPE, error_mm, noise, pose, random_poses, volume
from unimo_bids.motion.contrast import groups
from unimo_bids.motion.contrast.changing import ROUNDS, refine_tied
from unimo_bids.motion.contrast.groups import groups_of, place_groups
from unimo_bids.motion.judge import Judge
from unimo_bids.motion.scan import read_scan
from unimo_bids.motion.tracking import Track
from unimo_bids.spatial import rigid

# bright ventricles in dark tissue, the other way round, and between
CONTRASTS = ((1.0, 1.0, 1.0), (1.0, -1.0, 1.5), (1.0, 2.0, -1.0))
KIND = np.array([0, 1, 0, 2, 0, 1, 1, 0, 2, 0, 1, 2])
BESIDE = pose((0.2, 0.0, 0.2), (0.4, -1.1, 0.7))


@pytest.fixture(scope="module")
def series(mask):
    poses = random_poses(len(KIND), 3.0, 3.0, seed=4)
    poses[0] = torch.eye(4)
    frames = [volume(p, gains=CONTRASTS[k]) for p, k in zip(poses, KIND, strict=True)]
    read = torch.stack(frames) + noise((len(KIND), *SHAPE), 1.0, seed=6)
    return read_scan(read.permute(1, 2, 3, 0).numpy(), AFFINE.numpy(), mask.numpy(), 0), poses


@pytest.mark.parametrize("kind", [None, 2], ids=["in place", "beside"])
def test_a_group_beside_the_others_is_moved_and_its_deviations_tell(series, kind):
    scan, poses = series
    group = kind == KIND if kind is not None else np.zeros(len(KIND), dtype=bool)
    off = poses.clone()
    off[group] = off[group] @ BESIDE
    track = Track(off, np.ones(len(KIND)), np.zeros(len(KIND), dtype=bool))
    with torch.inference_mode():
        before = refine_tied(scan, track, ROUNDS[-1:])
        judge = Judge(scan.frames, scan.head, scan.usable)
        after, finding = place_groups(scan, judge, before)
    assert bool(finding) == group.any()
    if group.any():
        still = error_mm(before.refined.poses, poses)[group]
        assert float(still.min()) > 1.0 and (before.refined.similarity > 0.99).all(), "a residual"
        assert float(error_mm(after.refined.poses, poses).max()) < 0.5 * float(still.min())
        assert (after.unknown.diagonal(dim1=1, dim2=2)[group] > 0).all()


def test_a_group_that_is_not_moved_may_be_where_it_belongs_by_its_deviations(series, monkeypatch):
    monkeypatch.setattr(groups, "GROUPS", replace(groups.GROUPS, beyond=np.inf))
    scan, poses = series
    off, group = poses.clone(), KIND == 2
    off[group] = off[group] @ BESIDE
    track = Track(off, np.ones(len(KIND)), np.zeros(len(KIND), dtype=bool))
    with torch.inference_mode():
        before = refine_tied(scan, track, ROUNDS[-1:])
        found = before.refined.poses.clone()
        judge = Judge(scan.frames, scan.head, scan.usable)
        after, _ = place_groups(scan, judge, before)
    assert torch.equal(after.refined.poses, found)
    center = scan.head.center.expand(int(group.sum()), 3)
    rows = np.flatnonzero(group).tolist()
    apart = rigid.to_parameters(rigid.inverse(found[rows]) @ poses[rows], center)[1].square()
    squares = [
        float((apart / one[rows].diagonal(dim1=1, dim2=2)[:, 3:]).mean())
        for one in (after.refined.covariance, after.refined.covariance + after.unknown)
    ]
    assert squares[0] > 100, "nothing to tell"
    assert squares[1] < 2


def test_one_frame_is_no_group(series):
    scan, poses = series
    assert groups_of(scan, poses, np.arange(len(KIND)) == 0) == []

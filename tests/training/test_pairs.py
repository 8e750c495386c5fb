"""Pairs of scans, and what is said of their pose."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import grid_sample

from unimo_bids.networks.pose import VOXELS, WIDTH
from unimo_bids.spatial import rigid
from unimo_bids.training.pairs import Pairs


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _carried(volume: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
    """The moving volume as it looks from the fixed one."""
    step = WIDTH / VOXELS
    line = step * (torch.arange(VOXELS) - (VOXELS - 1) / 2)
    points = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), dim=-1).double()
    where = rigid.transform(pose, points.reshape(-1, 3)).reshape(points.shape)
    where = (where / (step * (VOXELS - 1) / 2)).flip(-1)[None].float()
    return grid_sample(volume[None, None], where, align_corners=True)[0, 0]


def _agreement(one: torch.Tensor, other: torch.Tensor, where: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one[where], other[where]]))[0, 1])


@pytest.mark.parametrize("seed", range(4))
def test_pose_carries_one_scan_onto_the_other(balls, seed):
    pair = Pairs(balls).draw(
        _rng(seed), "organ", clean=True, masked=True, other_contrast=False, turn=180, shift=20
    )
    where = pair.masks[0] > 0.5
    right = _agreement(pair.images[0], _carried(pair.images[1], pair.pose), where)
    wrong = _agreement(pair.images[0], _carried(pair.images[1], torch.linalg.inv(pair.pose)), where)
    assert right > 0.85
    assert 1 - right < 0.5 * (1 - wrong)


def test_turn_and_shift_are_bounded(balls):
    pairs = Pairs(balls)
    for seed in range(10):
        pair = pairs.draw(_rng(seed), "fetal", turn=10, shift=5, masked=True, clean=True)
        cosine = (pair.pose[:3, :3].trace() - 1) / 2
        assert torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))) <= 10.001
        # what is left of the shift: boxes are centred on the masks
        assert pair.pose[:3, 3].norm() * pair.radius < 5


def test_without_masks_boxes_are_about_the_head(balls):
    pair = Pairs(balls).draw(_rng(1), "fetal", masked=False)
    assert not pair.masked
    assert (pair.masks == 1).all()
    assert pair.pose[:3, 3].norm() < 1

"""What frames of a series agree on, from representations made by hand."""

from __future__ import annotations

import pytest
import torch

from unimo_bids.networks.alignment import Representation
from unimo_bids.networks.measuring import measure
from unimo_bids.networks.pose import IMAGE_TERMS, SHAPE_TERMS
from unimo_bids.spatial import rigid

RADIUS, FRAMES = 40.0, 6


@pytest.mark.parametrize("without_mask", [[], [4], [2], [0, 1, 2, 3, 4, 5]])
def test_frames_are_measured_with_and_without_a_mask_in_one_series(without_mask):
    """The brain is not found in every frame; the reference, 2, may be such a one."""
    generator = torch.Generator().manual_seed(3)
    (k, m), (i, j) = IMAGE_TERMS, SHAPE_TERMS
    points = RADIUS * torch.randn(k + i, 3, generator=generator).double()
    vectors = torch.randn(m + j, 3, generator=generator).double()
    six = torch.randn(2, FRAMES, 3, generator=generator).double()
    poses = rigid.from_parameters(0.3 * six[0], 10 * six[1])
    weights = torch.ones(FRAMES, k + i + m + j).double()
    for t in without_mask:
        weights[t, k : k + i] = weights[t, k + i + m :] = 0
    turned = vectors @ poses[:, :3, :3].mT
    series = Representation(rigid.transform(poses, points), turned, weights)
    found = measure(series, 2, RADIUS, 0.5)
    expected = poses @ rigid.inverse(poses[2])
    torch.testing.assert_close(found.poses @ rigid.inverse(found.poses[2]), expected)
    torch.testing.assert_close(found.direct, expected)
    assert bool(found.evidence.isfinite().all())
    assert float(found.disagreement.abs().max()) < 1e-6
    told = found.evidence[:, 9] > 0  # whether there was a shape
    assert [t for t in range(FRAMES) if not told[t]] == without_mask

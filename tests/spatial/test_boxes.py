"""Boxes: where their voxels are, what they read and write."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unimo_bids.spatial.boxes import Box, covering


def test_a_box_on_the_volumes_own_voxels_reads_them_unchanged():
    volume = torch.randn(6, 5, 4)
    box = Box(2.0, (6, 5, 4), (5.0, 4.0, 3.0))
    assert torch.allclose(box.read(volume, (2, 2, 2)), volume, atol=1e-6)
    assert torch.allclose(box.write(volume, volume.shape, (2, 2, 2)), volume, atol=1e-6)


def test_a_ramp_keeps_its_place_through_other_voxels():
    sizes = (2.0, 3.0, 4.5)
    x, y, z = (np.arange(n) * s for n, s in zip((40, 30, 20), sizes, strict=True))
    ramp = x[:, None, None] + 10 * y[None, :, None] + 100 * z[None, None, :]
    box = Box(6.0, (5, 6, 4), (40.0, 44.0, 41.0))
    read = box.read(torch.from_numpy(ramp).float(), sizes).numpy()
    places = np.meshgrid(*(box.positions(a) for a in range(3)), indexing="ij")
    expected = places[0] + 10 * places[1] + 100 * places[2]
    # a triangle that is not centred on a voxel is not quite symmetric: a fraction of a voxel
    assert np.abs(read - expected).max() < 0.02 * np.ptp(expected)
    back = box.write(torch.from_numpy(expected).float(), ramp.shape, sizes).numpy()
    within = back > 0
    assert within.any()
    assert np.abs(back - ramp)[2:-2][within[2:-2]].max() < 0.1 * np.ptp(expected)


def test_wide_voxels_average_what_they_cover():
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((60, 60, 60))).float()
    read = Box(6.0, (20, 20, 20), (59.0, 59.0, 59.0)).read(noise, (2, 2, 2))
    assert 0.05 < float(read.std()) < 0.5


def test_beyond_the_volume_is_nothing():
    box = Box(2.0, (20, 4, 4), (3.0, 3.0, 3.0))
    read = box.read(torch.ones(4, 4, 4), (2, 2, 2))
    assert read[8:12].min() == pytest.approx(1)
    assert read[:7].max() == 0
    assert read[13:].max() == 0


def test_covering_holds_every_voxel_in_multiples():
    box = covering((110, 97, 30), (3, 3, 4.5), 6.0, 8)
    assert all(n % 8 == 0 for n in box.shape)
    for axis, (many, size) in enumerate(zip((110, 97, 30), (3, 3, 4.5), strict=True)):
        places = box.positions(axis)
        assert places[0] - 3 <= -size / 2
        assert places[-1] + 3 >= (many - 0.5) * size

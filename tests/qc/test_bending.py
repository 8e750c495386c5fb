"""How far a frame is bent: of a field that is known, and of one that only moves all."""

from __future__ import annotations

import numpy as np
import torch

from tests import phantom
from unimo_bids.deformation.epi import Distortion, empty_field
from unimo_bids.qc.bending import bending, describe_bending, points_inside
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid

GRID = Grid.of(phantom.SHAPE, phantom.AFFINE)
POINTS = points_inside(phantom.head_mask().numpy(), phantom.AFFINE.numpy())


def bent(coefficient: tuple[int, int, int], mm: float, shift: float) -> dict[str, np.ndarray]:
    """By one cosine across the grid, under a head that moves by so much along y."""
    last = torch.tensor(GRID.shape).double() - 1
    field = empty_field(GRID, 1, torch.zeros(3).double(), last, 50.0)
    field.coefficients[coefficient] = mm
    moved = rigid.from_parameters(phantom.f64((0, 0, 0)), phantom.f64((0, shift, 0)))
    poses = torch.stack([torch.eye(4, dtype=torch.float64), moved])
    columns = bending(Distortion(field), poses.numpy(), POINTS)
    assert set(columns) == set(describe_bending())
    return columns


def test_what_moves_all_alike_bends_nothing():
    found = bent((0, 0, 0), 5.0, 12.0)
    assert found["bending_max"].max() < 0.01


def test_what_a_field_does_not_do_alike_everywhere_is_bending():
    """By the formula: the head moves by s, so that d(y + s) - d(y) is what it is bent by."""
    found = bent((0, 1, 0), 1.0, 12.0)
    assert found["bending_max"][0] < 0.01
    y = POINTS[:, 1]
    length = 3.0 * (phantom.SHAPE[1] - 1)
    phase = np.pi * (y - float(phantom.AFFINE[1, 3])) / length
    apart = 1.0 * (torch.cos(phase + np.pi * 12 / length) - torch.cos(phase))
    wanted = (apart - apart.mean()).abs()
    assert abs(found["bending_mean"][1] - float(wanted.mean())) < 0.1 * float(wanted.mean())

"""A field in Hz, measured on voxels of its own, against the displacements that it was made from."""

import pytest
import torch
from torch import Tensor

from tests import phantom
from tests.motion.distortion.test_estimation import AXIS, seen, shift
from unimo_bids.deformation.field_map import _STEEPEST, FieldMap, _gentle, _turned
from unimo_bids.spatial.grid import Grid, world_points

SHAPE = (40, 38, 32)
OBLIQUE = phantom.grid_affine((3.5, 4.0, -4.5), (0.14, -0.09, 0.2), SHAPE)
READOUT = 0.03


def measured(direction: int = 1, size: float = 1.0, times: float = 1.0) -> FieldMap:
    """What a scanner would measure of the field of `shift`: where tissue truly is, with noise."""
    grid = Grid(SHAPE, OBLIQUE)
    points = grid.points()
    displaced = (seen(points, size) - points)[:, AXIS]
    hz = times * direction * displaced / (READOUT * float(phantom.GRID.sizes[AXIS]))
    head = phantom.head_mask(OBLIQUE, SHAPE, grown=1.05)
    hz = hz.reshape(SHAPE).float() + phantom.noise(SHAPE, 2.0)
    return FieldMap(hz + (1 - head) * phantom.noise(SHAPE, 400.0), head, grid, direction * READOUT)


@pytest.mark.parametrize("direction", [1, -1])
def test_displacements_are_those_of_the_field(direction: int) -> None:
    first, last = torch.zeros(3).double(), torch.tensor(phantom.SHAPE).double() - 1
    found = measured(direction).on(phantom.GRID, AXIS, first, last)
    inside = phantom.head_mask().flatten() > 0
    true = shift(world_points(phantom.SHAPE, phantom.AFFINE), 1.0)[inside]
    apart = found.shift.flatten()[inside] - true
    assert float(true.std()) > 1.5  # mm
    assert float(apart.std()) < 0.08  # without what all have in common, which is no distortion
    assert float((apart - apart.mean()).abs().max()) < 0.4


def test_places_stay_in_order_where_the_field_would_fold_signal() -> None:
    x = torch.arange(40).double()

    def shown(height: float) -> tuple[Tensor, Tensor]:
        e = height * torch.exp(-(((x - 20) / 4) ** 2))
        return e, _turned(e[None, :, None], axis=1)[0, :, 0]

    e, d = shown(1.5)  # never steeper than 0.4
    there = x[8:32] + e[8:32]
    low = there.long()
    back = torch.lerp(d[low], d[low + 1], there - low)
    assert torch.allclose(back, -e[8:32], atol=0.06)
    _, d = shown(12.0)  # folds
    assert float((x + d).diff().min()) >= 0.0 and float((x + d).diff().max()) < 1 / 0.6 + 1e-6


def test_far_from_a_steep_place_its_line_stays_as_it_is() -> None:
    """Shared over the whole line, what is taken away beside a head would be found in the head."""
    x = torch.arange(60).double()
    d = 3 * torch.exp(-(((x - 30) / 3) ** 2)) + 0.01 * x  # falls by up to .85 a voxel
    gentle = _gentle(d[None, :, None], axis=1)[0, :, 0]
    assert float(d.diff().min()) < 1.3 * _STEEPEST
    assert float(gentle.diff().min()) > _STEEPEST - 1e-9
    far = (x - 30).abs() > 10
    assert torch.allclose(gentle[far], d[far], atol=1e-9)
    assert float((gentle - d).abs().max()) < 0.5


def test_a_steep_place_is_made_gentle_and_the_rest_of_the_map_is_kept() -> None:
    """Where signal folds, near air; a centimetre or two away the map is believed as it is."""
    grid = Grid(phantom.SHAPE, phantom.AFFINE)
    points = grid.points()
    apart = points - phantom.f64((20.0, 30.0, -25.0))
    steep = 8 * torch.exp(-(apart.square().sum(dim=1) / (2 * 7.0**2)))  # voxels
    wide = 2 * torch.exp(-(points - phantom.f64((-10.0, -15.0, 10.0))).square().sum(dim=1) / 450)
    hz = ((steep + wide) / READOUT).reshape(phantom.SHAPE).float()
    given = FieldMap(hz, torch.ones(phantom.SHAPE), grid, READOUT)
    first, last = torch.zeros(3).double(), torch.tensor(phantom.SHAPE).double() - 1
    found = given.on(grid, AXIS, first, last)
    assert float(found.density.min()) >= 0.25
    far = (apart.norm(dim=1) > 35) & (wide > 1)
    seen_at = wide[far] * float(grid.sizes[AXIS])
    depth = float(found.shift.flatten()[far].min() - found.shift.median())
    assert abs(depth + float(seen_at.max())) < 0.1 * float(seen_at.max())

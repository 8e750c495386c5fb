import numpy as np
import pytest
import torch

from unimo_bids.deformation.epi import LEAST_DENSITY, Distortion, ShiftField, empty_field
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid, inside, voxel_centers

OBLIQUE = [[2.9, 0.5, 0, -40], [-0.5, 2.9, 0.2, -50], [0, -0.3, 4.0, -60], [0, 0, 0, 1]]
GRID = Grid.of((24, 26, 20), OBLIQUE)
FIRST, LAST = torch.tensor([2.0, 3, 2]).double(), torch.tensor([21.0, 22, 18]).double()


def field(axis: int, size: float) -> ShiftField:
    none = empty_field(GRID, axis, FIRST, LAST, half_wave=25.0)
    drawn = np.random.default_rng(axis).standard_normal(none.coefficients.shape)
    drawn *= size / np.abs(drawn).sum()
    return ShiftField(GRID, axis, FIRST, LAST, torch.from_numpy(drawn))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_waves_sum_up_to_the_field_and_its_slope(axis: int) -> None:
    some = field(axis, 6.0)
    places = voxel_centers(GRID.shape)

    def both(places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        one = torch.ones(len(places))
        return some.changed(places, one, 0 * one), some.changed(places, 0 * one, one)

    waves, slopes = both(places)
    flat = some.coefficients.flatten()
    assert torch.allclose((waves @ flat).float(), some.shift.flatten(), atol=1e-5)
    assert torch.allclose(1 + (slopes @ flat).float(), some.density.flatten(), atol=1e-5)
    near = places[500:600] + 0.3  # inside the box and on its rim
    step = torch.zeros(3).double()
    step[axis] = 1e-6
    rise = (both(near + step)[0] - both(near)[0]) / (1e-6 * GRID.sizes[axis])
    assert torch.allclose(rise, both(near)[1], atol=1e-6)


def test_the_field_goes_on_beyond_its_box() -> None:
    some = field(1, 6.0)
    assert torch.equal(some.shift[:, :4], some.shift[:, 3:4].expand(-1, 4, -1))
    assert torch.equal(some.density[:, 23:], torch.ones_like(some.density[:, 23:]))


@pytest.mark.parametrize("axis", [0, 2])
def test_undistorting_undoes_distorting(axis: int) -> None:
    some = field(axis, 8.0)
    points = GRID.points()[::7].float()
    there = some.distorting()(points)
    assert float((there - points).norm(dim=1).max()) > 2.0
    stays = inside(rigid.transform(GRID.to_index.float(), there), GRID.shape)
    back = some.undistorting()(there)
    apart = (back - points).norm(dim=1)[stays]
    assert float(apart.max()) < 0.05 * float(GRID.sizes[axis])  # a twentieth of a voxel


def test_a_head_that_rests_is_not_bent_and_one_that_moves_is() -> None:
    distortion = Distortion(field(1, 12.0))
    points = GRID.points()[::11].float()
    rest = distortion.warp(torch.eye(4).double())
    assert float((rest(points) - points).abs().max()) < 0.05 * 3.0
    away = torch.tensor([9.0, 0, 0]).double()
    pose = rigid.from_parameters(torch.zeros(3).double(), away)
    bent = distortion.warp(pose)(points) - rigid.transform(pose.float(), points)
    assert float(bent.norm(dim=1).max()) > 0.5
    # along the phase-encode axis alone, as nothing turned
    assert torch.allclose(
        bent
        - (bent @ distortion.field.direction.float())[:, None] * distortion.field.direction.float(),
        torch.zeros(3),
        atol=1e-4,
    )


def test_a_field_that_folds_is_held_back() -> None:
    folding = field(0, 90.0)
    assert float(folding.density.min()) < 0
    held = folding.limited()
    assert float(held.density.min()) == pytest.approx(LEAST_DENSITY, abs=1e-4)
    gentle = field(0, 3.0)
    assert torch.equal(gentle.limited().coefficients, gentle.coefficients)


def test_a_shift_of_everything_is_motion() -> None:
    """Taken out of the field, it goes into the pose; together they warp as before."""
    some = field(1, 6.0)
    weights = torch.rand(GRID.shape, generator=torch.Generator().manual_seed(1))
    left, common = some.without_mean(weights)
    assert abs(float((weights * left.shift).mean())) < 1e-5
    turn = torch.tensor([0.1, -0.2, 0.3]).double()
    pose = rigid.from_parameters(turn, torch.tensor([2.0, -1, 3]).double())
    points = GRID.points()[::7].float()
    before = Distortion(some).warp(pose)(points)
    after = Distortion(left).warp(rigid.inverse(common) @ pose @ common)(points)
    inner = inside(rigid.transform(GRID.to_index.float(), before), GRID.shape, margin=2)
    assert int(inner.sum()) > 500
    # the inverse is interpolated at places that are apart by the shift
    assert float((after - before).norm(dim=1)[inner].max()) < 0.05 * 3.0

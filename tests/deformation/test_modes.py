import math

import pytest
import torch
from torch import Tensor

from unimo_bids.deformation.modes import Modes, box_around
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.rigid import transform

OBLIQUE = [[2.9, 0.5, 0, -40], [-0.5, 2.9, 0.2, -50], [0, -0.3, 4.0, -60], [0, 0, 0, 1]]


@pytest.fixture
def grid() -> Grid:
    return Grid.of((32, 30, 20), OBLIQUE)


@pytest.fixture
def modes(grid: Grid) -> Modes:
    return box_around(grid, samples=9)


def test_waves_are_exact_anywhere_with_their_slopes(modes: Modes, grid: Grid) -> None:
    wave = modes.waves[:, 1, -2, 2]

    def function(points: Tensor) -> Tensor:
        return torch.cos(points @ wave + 0.3)

    values = function(modes.box.points()).reshape(modes.box.shape)
    points = grid.points()[::97]
    assert torch.allclose(modes.at(values, points), function(points), atol=1e-12)
    on_grid = modes.on(values, grid)
    assert torch.allclose(on_grid, function(grid.points()).reshape(grid.shape), atol=1e-12)
    slopes = modes.values(modes.slopes(modes.spectrum(values)))
    phase = torch.sin(modes.box.points() @ wave + 0.3).reshape(modes.box.shape)
    assert torch.allclose(slopes, -phase * wave[:, None, None, None], atol=1e-12)


def test_on_a_turned_grid_as_at_its_points(modes: Modes) -> None:
    values = torch.randn(2, *modes.box.shape, dtype=torch.float64)
    other = Grid.of((5, 6, 7), [[1, 2, 0, 1], [-2, 1, 0, 2], [0, 0, 3, 3], [0, 0, 0, 1]])
    assert torch.allclose(
        modes.on(values, other).flatten(1), modes.at(values, other.points()), atol=1e-12
    )


def test_gathered_is_the_adjoint_of_on(modes: Modes, grid: Grid) -> None:
    values = torch.randn(3, *modes.box.shape, dtype=torch.float64)
    fields = torch.randn(3, *grid.shape, dtype=torch.float64)
    here = (modes.on(values, grid) * fields).sum()
    assert torch.allclose(here, (values * modes.gathered(fields, grid)).sum())


def test_products_have_no_false_waves(modes: Modes) -> None:
    """The highest wave squared is half a constant, and one too high for the box."""
    wave = modes.waves[:, 4, 0, 0]
    values = torch.cos(modes.box.points() @ wave).reshape(modes.box.shape)
    wide = modes.wide(modes.spectrum(values))
    product = modes.values(modes.narrow(wide * wide))
    assert torch.allclose(product, torch.full_like(product, 0.5), atol=1e-12)


def test_the_box_leaves_a_margin(grid: Grid) -> None:
    box = box_around(grid, samples=15, margin=0.25).box
    ends = transform(box.to_index, grid.corners())
    edge = transform(box.to_index @ grid.affine, torch.tensor([[-0.5, -0.5, -0.5]]).double())
    assert torch.allclose(edge + 0.5, torch.full_like(edge, 15 * 0.25 / 1.5))
    assert ends.min() > 0 and ends.max() < 14


def test_an_even_number_of_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="odd"):
        Modes(Grid.of((16, 15, 15), torch.eye(4)))


def test_wave_vectors_are_in_the_world() -> None:
    box = Grid.of((9, 9, 9), torch.diag(torch.tensor([4.0, 4.0, 4.0, 1.0])))
    longest = Modes(box).waves[:, 0, 1, 0]
    assert torch.allclose(longest, torch.tensor([0, 2 * math.pi / 36, 0]).double())

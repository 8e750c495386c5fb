import math

import pytest
import torch

from tests.phantom import f64, grid_affine
from tests.spatial.cases import middle
from unimo_bids.registration.levels import (
    gradient_magnitude,
    make_level,
)
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import (
    Grid,
    voxel_centers,
    voxel_sizes,
    world_points,
)

SHAPE = (31, 34, 28)
OBLIQUE = grid_affine((-2.0, 2.5, 3.5), (0.3, -0.5, 0.2), SHAPE)
SLOPE = f64([0.3, -0.2, 0.5])  # of a ramp, per mm


def ramp(affine, shape):
    return (world_points(shape, affine) @ SLOPE).reshape(shape)


def deep(level, millimetres):
    """Which of a level's voxels lie so far inside the grid, ``(X', Y', Z')``."""
    size = torch.tensor(level.grid.shape)
    index = voxel_centers(level.grid.shape)
    depth = torch.minimum(index, size - 1 - index) * voxel_sizes(level.grid.affine)
    return (depth.amin(dim=-1) > millimetres).reshape(level.grid.shape)


@pytest.mark.parametrize("spacing", [0.0, 3.0, 5.3, 9.0])
def test_a_coarse_grid_stays_where_it_is_in_the_world(spacing):
    level = make_level(Grid(SHAPE, OBLIQUE), blur=2.0, spacing=spacing)
    torch.testing.assert_close(
        middle(level.grid.shape, level.grid.affine), middle(SHAPE, OBLIQUE), rtol=0, atol=1e-12
    )
    expected = voxel_sizes(OBLIQUE).clamp(min=spacing)  # never finer than the voxels
    torch.testing.assert_close(voxel_sizes(level.grid.affine), expected, rtol=1e-12, atol=0)
    # a symmetric blur and linear interpolation leave a ramp; float32 of values up to 40.
    # 12 mm: the kernel ends at 4 σ, of 2 mm and what evens out the thick slices (2.4 mm)
    image = level.image(ramp(OBLIQUE, SHAPE).float())
    inner = deep(level, 12.5)
    assert int(inner.sum()) > 20
    expected = ramp(level.grid.affine, level.grid.shape)[inner].float()
    torch.testing.assert_close(image[inner], expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("sizes", [(3.0, 3.0, 3.0), (2.0, 2.5, 4.0)])
def test_resolution_is_the_same_in_all_directions(sizes):
    blur, shape = 4.0, (41, 41, 41)
    level = make_level(Grid(shape, grid_affine(sizes, shape=shape)), blur=blur)
    impulse = torch.zeros(shape)
    impulse[20, 20, 20] = 1
    image = level.image(impulse).double()
    for axis, size in enumerate(sizes):
        profile = image.sum(dim=[a for a in range(3) if a != axis])
        place = (torch.arange(41) - 20) * size
        variance = float((profile * place**2).sum())
        # with the voxel's own response (0.18 size², a Gaussian with that FWHM) the sum is the
        # same on each axis; a kernel cut at 4 σ lacks 1e-3 of its variance
        assert variance + 0.18 * size**2 == pytest.approx(
            blur**2 + 0.18 * max(sizes) ** 2, rel=2e-3
        )


@pytest.mark.parametrize("cubic", [False, True])
def test_at_its_voxels_a_level_samples_its_image(cubic):
    frames = torch.randn(2, 12, 9, 10)
    level = make_level(Grid((12, 9, 10), grid_affine()), blur=3.0, spacing=3.5, cubic=cubic)
    index = voxel_centers(level.grid.shape).float()[None].expand(2, -1, -1)
    found = level.sample(level.sampled(frames)[:, None], index)[:, 0]
    # float32 through the spline's inverse
    torch.testing.assert_close(found, level.image(frames).flatten(1), rtol=0, atol=1e-5)


def test_a_window_is_a_piece_of_the_whole():
    frame, grid = torch.randn(SHAPE), Grid(SHAPE, OBLIQUE)
    inner_part = slice(4, 26), slice(5, 29), slice(2, 25)
    whole = make_level(grid, blur=2.0, cubic=True)
    window = make_level(grid.part(inner_part), blur=2.0, cubic=True)
    part = frame[inner_part]
    points = world_points(SHAPE, OBLIQUE)
    values, depths = [], []
    for level, volume in ((whole, frame), (window, part)):
        index = rigid.transform(torch.linalg.inv(level.grid.affine), points)[None].float()
        values.append(level.sample(level.sampled(volume)[None, None], index)[0, 0])
        size_ = torch.tensor(level.grid.shape)
        depths.append(torch.minimum(index, size_ - 1 - index)[0].amin(dim=-1))
    inner = depths[1] > 8  # the blur reaches 6 voxels, the spline forgets 0.27² = 0.07 in two more
    assert int(inner.sum()) > 50
    # … of the mirrored border's share of the blurred noise, 1e-4 at 4 σ
    torch.testing.assert_close(values[0][inner], values[1][inner], rtol=0, atol=1e-5)


def test_validity_rises_from_the_border_to_the_margin():
    level = make_level(Grid((21, 21, 21), grid_affine()), blur=3.0)
    margin = float(level.margin[0])
    assert margin == pytest.approx(2 * 3.0 / 3.0)  # two widths of the blur, in voxels
    depth = torch.tensor([-5.0, -0.1, 0.0, margin / 4, margin, 9.0])
    index = torch.full((len(depth), 3), 10.0)
    for axis in range(3):
        for place in (depth, 20 - depth):
            moved = index.clone()
            moved[:, axis] = place
            expected = torch.tensor([0.0, 0.0, 0.0, 0.25, 1.0, 1.0])
            # float32 roundings of index and margin
            torch.testing.assert_close(level.validity(moved), expected, rtol=0, atol=1e-6)


def test_edge_strength_is_the_slope_in_any_direction_and_sign():
    level = make_level(Grid(SHAPE, OBLIQUE), blur=0.0)
    image = ramp(OBLIQUE, SHAPE)
    strength = gradient_magnitude(image, level)
    # 0.27 per voxel from the mirrored border, 13 voxels deep: 1e-7 of the ramp's bend
    middle = strength[15, 17, 14]
    assert float(middle) == pytest.approx(float(torch.linalg.norm(SLOPE)), rel=1e-6)
    torch.testing.assert_close(gradient_magnitude(5 - image, level), strength, rtol=0, atol=1e-12)
    assert math.isclose(float(gradient_magnitude(2 * image, level)[3, 4, 5]), 2 * strength[3, 4, 5])

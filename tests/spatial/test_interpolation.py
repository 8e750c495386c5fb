import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from tests.spatial.cases import AFFINES, f64
from unimo_bids.spatial import grid as grids
from unimo_bids.spatial import interpolation as ip

SHAPES = [(9, 12, 10), (8, 5, 1), (1, 7, 6), (6, 1, 1), (2, 3, 2)]
# sums of 64 products of numbers near 1: 64 × 2e-16, and the spline's inverse a few times more
ROUNDING = 1e-12


def random_images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_indices(shape, count=300, batch=1, beyond=0.0):
    generator = torch.Generator().manual_seed(1)
    unit = torch.rand(batch, count, 3, generator=generator, dtype=torch.float64)
    size = f64(shape) - 1 + 2 * beyond
    return unit * size - beyond


def linear(images, indices):
    return ip.sample_linear(images, indices)


def cubic(images, indices):
    return ip.sample_cubic(ip.spline_coefficients(images), indices)


def assert_same(found, expected, atol=ROUNDING):
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


both = pytest.mark.parametrize("sample", [linear, cubic])
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


@pytest.mark.parametrize(("sample", "order"), [(linear, 1), (cubic, 3)])
@every_shape
def test_values_are_scipys(sample, order, shape):
    image, indices = random_images(*shape), random_indices(shape)
    found = sample(image[None, None], indices)[0, 0]
    expected = ndimage.map_coordinates(
        image.numpy(), indices[0].T.numpy(), order=order, mode="mirror"
    )
    assert_same(found, torch.from_numpy(expected), 1e-6)  # scipy's prefilter stops at about 1e-9


@every_shape
def test_coefficients_are_scipys_with_a_mirrored_rim(shape):
    image = random_images(*shape)
    coefficients = ip.spline_coefficients(image)
    expected = ndimage.spline_filter(image.numpy(), order=3, mode="mirror")
    for axis, n in enumerate(shape):
        rim = np.pad(np.arange(n), (1, 2), mode="reflect") if n > 1 else np.zeros(4, dtype=int)
        expected = expected.take(rim, axis=axis)
    assert_same(coefficients, torch.from_numpy(expected), 1e-6)  # as above


@pytest.mark.parametrize("sigma", [(0.5, 1.3, 0.8), (2.0, 0.3, 1.0)])
@every_shape
def test_blur_is_scipys(shape, sigma):
    image = random_images(*shape)
    expected = ndimage.gaussian_filter(
        image.numpy(), sigma, mode="mirror", radius=[math.ceil(4 * s) for s in sigma]
    )
    assert_same(ip.gaussian_blur(image, sigma), torch.from_numpy(expected))


@both
@every_shape
def test_beyond_the_grid_the_border_holds(sample, shape):
    image, indices = random_images(1, 1, *shape), random_indices(shape, beyond=2.5)
    nearest = torch.minimum(indices.clamp(min=0), f64(shape) - 1)
    assert torch.equal(sample(image, indices), sample(image, nearest))


@both
def test_batches_and_channels_equal_one_by_one(sample):
    shape = (6, 7, 5)
    images, indices = random_images(3, 2, *shape), random_indices(shape, 50, batch=3)
    at_once = sample(images, indices)
    assert at_once.shape == (3, 2, 50)
    for b in range(3):
        for c in range(2):
            alone = sample(images[b : b + 1, c : c + 1], indices[b : b + 1])
            assert_same(at_once[b : b + 1, c : c + 1], alone)


@both
def test_float32_is_as_good_as_float32_is(sample):
    shape = (9, 12, 10)
    images, indices = random_images(1, 1, *shape), random_indices(shape)
    found = sample(images.float(), indices.float())
    assert found.dtype == torch.float32
    # an index near 10 is known to 1e-6 and values change by some 5 per voxel
    assert_same(found.double(), sample(images, indices), 2e-5)


def test_separable_matrices_are_an_outer_product():
    images = random_images(2, 3, 4, 5, 6)
    matrices = [random_images(m, n) for m, n in ((3, 4), (7, 5), (2, 6))]
    expected = torch.einsum("bcxyz,ix,jy,kz->bcijk", images, *matrices)
    assert_same(ip.apply_separable(images, matrices), expected, 1e-11)  # 120 products of some 10


@pytest.mark.parametrize(("n", "first", "step"), [(9, 0.5, 1.75), (6, -1.0, 0.5), (1, 0.0, 1.0)])
def test_a_picked_grid_is_numpys_linear_interpolation(n, first, step):
    samples = random_images(n)
    places = first + step * np.arange(7)
    picked = ip.pick_matrix(n, 7, first, step, samples) @ samples
    expected = np.interp(places, np.arange(n), samples.numpy())
    assert_same(picked, torch.from_numpy(expected))


@pytest.mark.parametrize("shape", [(6, 7, 8), (6, 7, 1)], ids=str)
def test_the_gradient_is_that_of_the_spline(shape):
    image, affine, step = random_images(*shape), AFFINES["sheared"], 1e-4
    centers = grids.voxel_centers(shape)
    inner = (centers[:, 0] % 5 > 0) & (centers[:, 1] % 6 > 0)  # differences need both sides
    inner &= torch.tensor(shape[2] == 1) | (centers[:, 2] % 7 > 0)
    along = []
    for axis in range(3):
        nudge = torch.zeros(3).double()
        nudge[axis] = step
        ahead, behind = (
            cubic(image[None, None], (centers + s * nudge)[None])[0, 0] for s in (1, -1)
        )
        along.append((ahead - behind) / (2 * step))
    expected = torch.stack(along, dim=-1) @ torch.linalg.inv(affine[:3, :3])
    found = ip.gradient(image, affine).reshape(-1, 3)
    # a cubic's third difference: step² × (6 × a spline's third derivative of some 50) / 6
    assert_same(found[inner], expected[inner], 1e-6)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_the_way_of_a_processor_gives_what_the_way_of_a_gpu_does(kind):
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(2, 3, 9, 1, 12, generator=generator, dtype=kind)
    coefficients = ip.spline_coefficients(images)
    # more than are taken at once, some beyond the grid
    indices = torch.rand(2, 20_000, 3, generator=generator, dtype=kind)
    indices = indices * torch.tensor([12.0, 3, 15]) - torch.tensor([2.0, 1, 2])
    first, weights = [], []
    for n, index in zip(coefficients.shape[-3:], indices.unbind(-1), strict=True):
        powers = torch.ones(2, 4, 20_000, dtype=kind)
        first.append(ip._powers(index, n, powers))
        weights.append((ip._TAPS.to(kind).mT @ powers).unbind(dim=-2))
    expected = ip._gathered(coefficients, first, weights)
    # values of up to 5, the sum of 64 products
    rounding = 50 * torch.finfo(kind).eps
    torch.testing.assert_close(ip._bagged(coefficients, indices), expected, rtol=0, atol=rounding)

"""Turned images give turned features."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from unimo_bids.networks.steerable import (
    FieldNorm,
    Fields,
    Gate,
    SteerableConv,
    blur_pool,
    dimension,
    gated,
    harmonics,
    intertwiner,
    turn_fields,
    turned,
)

SCALAR: Fields = ((1, 0, 1),)
MIXED: Fields = ((4, 0, 1), (2, 0, -1), (3, 1, -1), (2, 1, 1), (2, 2, 1), (1, 2, -1))


class _Encoder(nn.Module):
    """Stem at half resolution, a gated block, pooling, another block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SteerableConv(SCALAR, gated(MIXED), size=6)
        self.block = SteerableConv(MIXED, gated(MIXED))
        self.last = SteerableConv(MIXED, MIXED)
        self.gate, self.norm = Gate(MIXED), FieldNorm(MIXED)

    def forward(self, image: Tensor) -> Tensor:
        x = self.norm(self.gate(self.stem(image)), torch.ones_like(image[..., ::2, ::2, ::2]))
        return self.last(blur_pool(self.gate(self.block(x))))


@pytest.fixture
def encoder() -> _Encoder:
    torch.manual_seed(0)
    return _Encoder().eval()


def _grid_turns() -> list[np.ndarray]:
    """All 48 rotations and reflections of a cube."""
    return [
        np.diag(signs) @ np.eye(3)[list(order)]
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1.0, -1.0), repeat=3)
    ]


def _turned_image(image: Tensor, rotation: np.ndarray) -> Tensor:
    """The image ``f(R⁻¹ x)``, about the middle of the grid."""
    matrix = torch.from_numpy(rotation.T).to(image)  # where each voxel of the new image comes from
    line = torch.linspace(-1, 1, image.shape[-1]).to(image)
    points = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), dim=-1)
    where = (points @ matrix.T).flip(-1)[None].expand(len(image), -1, -1, -1, -1)
    return grid_sample(image, where, align_corners=True)


def _some_rotation(seed: int) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    return q * np.sign(np.linalg.det(q))


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_harmonics_turn_by_an_orthogonal_matrix(degree: int) -> None:
    rotation = _some_rotation(degree)
    matrix = turned(rotation, degree)
    assert np.allclose(matrix @ matrix.T, np.eye(2 * degree + 1))
    points = np.random.default_rng(1).standard_normal((5, 3))
    assert np.allclose(harmonics(points @ rotation.T, degree), harmonics(points, degree) @ matrix.T)
    if degree == 1:
        assert np.allclose(matrix, rotation)


@pytest.mark.parametrize(("out", "into", "between"), [(0, 2, 2), (1, 1, 1), (1, 2, 3), (2, 2, 2)])
def test_one_tensor_is_left_as_it_is(out: int, into: int, between: int) -> None:
    tensor = intertwiner(out, into, between)
    o, i, j = (turned(_some_rotation(9), degree) for degree in (out, into, between))
    assert np.allclose(np.einsum("ax,by,cz,xyz->abc", o, i, j, tensor), tensor)
    assert np.linalg.norm(tensor) == pytest.approx(1)


@pytest.mark.parametrize("rotation", _grid_turns()[1:], ids=lambda r: str(r.astype(int).tolist()))
def test_turns_and_reflections_of_the_grid_are_exact(
    encoder: _Encoder, rotation: np.ndarray
) -> None:
    image = torch.randn(1, 1, 16, 16, 16, dtype=torch.float64)
    encoder = encoder.double()
    with torch.no_grad():
        first = encoder(_turned_image(image, rotation))
        after = turn_fields(_turned_image(encoder(image), rotation), MIXED, rotation)
    assert first.shape == (1, dimension(MIXED), 4, 4, 4)
    assert (first - after).abs().max() < 1e-5 * first.abs().max()


def test_any_turn_is_near(encoder: _Encoder) -> None:
    """Of smooth blobs: the sampling of kernels and images leaves a few per cent."""
    generator = torch.Generator().manual_seed(3)
    line = torch.linspace(-1, 1, 48)
    x, y, z = torch.meshgrid(line, line, line, indexing="ij")
    image = torch.zeros(48, 48, 48)
    for _ in range(12):
        center = torch.rand(3, generator=generator) - 0.5
        far = sum((a - c) ** 2 for a, c in zip((x, y, z), center, strict=True))
        image += torch.randn(1, generator=generator) * torch.exp(-far / (2 * 0.22**2))
    image, errors = image[None, None], []
    for seed in range(4):
        rotation = _some_rotation(seed)
        with torch.no_grad():
            first = encoder(_turned_image(image, rotation))
            after = turn_fields(_turned_image(encoder(image), rotation), MIXED, rotation)
        inner = (..., slice(2, -2), slice(2, -2), slice(2, -2))
        errors.append(float((first - after)[inner].norm() / after[inner].norm()))
    assert max(errors) < 0.12  # half of it is the interpolation of the features that are compared


def test_features_are_not_nothing_and_differ(encoder: _Encoder) -> None:
    with torch.no_grad():
        found = encoder(torch.randn(1, 1, 16, 16, 16))
    assert found.flatten(2).std(-1).min() > 1e-3


def test_gradients_are_right() -> None:
    torch.manual_seed(0)
    conv = SteerableConv(((1, 0, 1), (1, 1, -1)), ((1, 0, 1), (1, 1, -1)), size=3).double()
    image = torch.randn(1, 4, 4, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(conv, (image,))
    weights = [w.detach().clone().requires_grad_() for w in conv.weights]

    def of_weights(*given: Tensor) -> Tensor:
        names = [f"weights.{n}" for n in range(len(given))]
        return torch.func.functional_call(conv, dict(zip(names, given, strict=True)), (image,))

    assert torch.autograd.gradcheck(of_weights, tuple(weights))


def test_half_precision_is_near(encoder: _Encoder) -> None:
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        full = encoder(image)
        with torch.autocast("cpu", torch.bfloat16):
            half = encoder(image).float()
    assert (half - full).norm() < 0.03 * full.norm()


def test_a_mask_tells_where_the_norm_is_taken() -> None:
    norm = FieldNorm(MIXED)
    features = torch.randn(1, dimension(MIXED), 8, 8, 8)
    mask = torch.zeros(1, 1, 8, 8, 8)
    mask[..., 2:6, 2:6, 2:6] = 1
    louder = features * (1 + 9 * (1 - mask))
    inside = mask.expand_as(features) > 0
    assert torch.allclose(norm(features, mask)[inside], norm(louder, mask)[inside])

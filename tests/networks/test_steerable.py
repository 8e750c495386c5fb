"""Turned images give turned features."""

from __future__ import annotations

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


def _turned_image(image: Tensor, rotation: np.ndarray) -> Tensor:
    """The image ``f(R⁻¹ x)``, about the middle of the grid."""
    matrix = torch.from_numpy(rotation.T).to(image)  # where each voxel of the new image comes from
    line = torch.linspace(-1, 1, image.shape[-1]).to(image)
    points = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), dim=-1)
    where = (points @ matrix.T).flip(-1)[None].expand(len(image), -1, -1, -1, -1)
    return grid_sample(image, where, align_corners=True)


def _turn_fields(features: Tensor, rotation: np.ndarray) -> Tensor:
    """Turn the indices of the `MIXED` fields, not the places where they stand."""
    mirrored = np.linalg.det(rotation) < 0
    parts = features.split([many * (2 * degree + 1) for many, degree, _ in MIXED], dim=1)
    done = []
    for part, (many, degree, parity) in zip(parts, MIXED, strict=True):
        matrix = turned(-rotation if mirrored else rotation, degree) * (parity if mirrored else 1)
        split = part.reshape(len(part), many, 2 * degree + 1, *part.shape[2:])
        turning = torch.from_numpy(matrix).to(part)
        done.append(torch.einsum("ab,nub...->nua...", turning, split).reshape(part.shape))
    return torch.cat(done, dim=1)


def _some_rotation(seed: int) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    return q * np.sign(np.linalg.det(q))


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_harmonics_turn_by_an_orthogonal_matrix(degree):
    rotation = _some_rotation(degree)
    matrix = turned(rotation, degree)
    assert np.allclose(matrix @ matrix.T, np.eye(2 * degree + 1))
    points = np.random.default_rng(1).standard_normal((5, 3))
    assert np.allclose(harmonics(points @ rotation.T, degree), harmonics(points, degree) @ matrix.T)
    if degree == 1:
        assert np.allclose(matrix, rotation)


@pytest.mark.parametrize(("out", "into", "between"), [(0, 2, 2), (1, 1, 1), (1, 2, 3), (2, 2, 2)])
def test_one_tensor_is_left_as_it_is(out, into, between):
    tensor = intertwiner(out, into, between)
    o, i, j = (turned(_some_rotation(9), degree) for degree in (out, into, between))
    assert np.allclose(np.einsum("ax,by,cz,xyz->abc", o, i, j, tensor), tensor)
    assert np.linalg.norm(tensor) == pytest.approx(1)


# from these come all 48 rotations and reflections of a cube
@pytest.mark.parametrize(
    "rotation", [np.eye(3)[[1, 0, 2]], np.eye(3)[[1, 2, 0]], np.diag([-1.0, 1, 1])], ids=str
)
def test_turns_and_reflections_of_the_grid_are_exact(encoder, rotation):
    image = torch.randn(1, 1, 16, 16, 16, dtype=torch.float64)
    encoder = encoder.double()
    with torch.no_grad():
        first = encoder(_turned_image(image, rotation))
        after = _turn_fields(_turned_image(encoder(image), rotation), rotation)
    assert first.shape == (1, dimension(MIXED), 4, 4, 4)
    assert (first - after).abs().max() < 1e-5 * first.abs().max()


def test_gradients_are_right():
    torch.manual_seed(0)
    conv = SteerableConv(((1, 0, 1), (1, 1, -1)), ((1, 0, 1), (1, 1, -1)), size=3).double()
    image = torch.randn(1, 4, 4, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(conv, (image,))
    weights = [w.detach().clone().requires_grad_() for w in conv.weights]

    def of_weights(*given: Tensor) -> Tensor:
        names = [f"weights.{n}" for n in range(len(given))]
        return torch.func.functional_call(conv, dict(zip(names, given, strict=True)), (image,))

    assert torch.autograd.gradcheck(of_weights, tuple(weights))


def test_a_mask_tells_where_the_norm_is_taken():
    norm = FieldNorm(MIXED)
    features = torch.randn(1, dimension(MIXED), 8, 8, 8)
    mask = torch.zeros(1, 1, 8, 8, 8)
    mask[..., 2:6, 2:6, 2:6] = 1
    louder = features * (1 + 9 * (1 - mask))
    inside = mask.expand_as(features) > 0
    assert torch.allclose(norm(features, mask)[inside], norm(louder, mask)[inside])

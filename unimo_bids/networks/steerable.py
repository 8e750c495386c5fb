"""Steerable convolutions: features that turn with the image.

A feature map is a stack of *fields*: scalars (l = 0), vectors (l = 1) and harmonics of degree 2,
each of even or odd parity under inversion. A kernel between fields of degrees i and o is a
combination of

    φ(|x|) Σ_m C[a, b, m] Y_J,m(x / |x|),    |i - o| ≤ J ≤ i + o,

with Y the real spherical harmonics, φ Gaussian shells, and C the one tensor that turning all three
of its indices leaves as it is (Weiler et al. 2018). So a turned image gives turned features:
exactly for turns by 90°, to within the sampling of the kernel for others. Indices of vectors are
the image's axes, in their order.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import conv3d, silu

from unimo_bids.networks.unet import space_to_depth

Field = tuple[int, int, int]  # how many, degree l, parity ±1
Fields = tuple[Field, ...]
Float = NDArray[np.float64]

_WIDTH = 0.6  # of the radial shells, voxels
_LARGEST_J = 3  # kernels of 5 voxels alias above


def dimension(fields: Fields) -> int:
    """How many channels fields have."""
    return sum(many * (2 * degree + 1) for many, degree, _ in fields)


def harmonics(points: Float, degree: int) -> Float:
    """Real spherical harmonics of a degree at points ``(N, 3)``, ``(N, 2l + 1)``; of norm 1 each.

    Homogeneous polynomials: they grow with ``|x| ** l``.
    """
    x, y, z = points.T
    r2 = x * x + y * y + z * z
    root = np.sqrt
    rows = {
        0: [np.ones_like(x)],
        1: [x, y, z],
        2: [
            *(root(3) * x * y, root(3) * y * z, root(3) * z * x),
            *((3 * z * z - r2) / 2, root(3) / 2 * (x * x - y * y)),
        ],
        3: [
            *(root(5 / 8) * y * (3 * x * x - y * y), root(15) * x * y * z),
            *(root(3 / 8) * y * (5 * z * z - r2), z * (5 * z * z - 3 * r2) / 2),
            *(root(3 / 8) * x * (5 * z * z - r2), root(15) / 2 * z * (x * x - y * y)),
            root(5 / 8) * x * (x * x - 3 * y * y),
        ],
    }
    return np.stack(rows[degree], axis=1)


def turned(rotation: Float, degree: int) -> Float:
    """How the harmonics of a degree turn: ``Y(R x) = D(R) Y(x)``, ``(2l + 1, 2l + 1)``."""
    points = np.random.default_rng(0).standard_normal((32, 3))
    before, after = harmonics(points, degree), harmonics(points @ rotation.T, degree)
    return np.asarray(np.linalg.lstsq(before, after, rcond=None)[0].T)


@cache
def intertwiner(out: int, into: int, between: int) -> Float:
    """The tensor ``(2o + 1, 2i + 1, 2J + 1)`` of norm 1 that turning leaves as it is."""
    rows = []
    for axis in np.eye(3)[:2]:
        cross = np.cross(np.eye(3), axis)
        rotation = np.eye(3) + np.sin(1.0) * cross + (1 - np.cos(1.0)) * cross @ cross
        o, i, j = (turned(rotation, degree) for degree in (out, into, between))
        rows.append(np.kron(np.kron(o, i), j))
    equations = np.concatenate([row - np.eye(len(row)) for row in rows])
    solution = np.linalg.svd(equations)[2][-1]
    shape = (2 * out + 1, 2 * into + 1, 2 * between + 1)
    return np.asarray(solution.reshape(shape) * np.sign(solution[np.abs(solution).argmax()]))


def kernels(out: Field, into: Field, size: int) -> Float:
    """Basis of kernels between two fields, ``(P, 2o + 1, 2i + 1, size, size, size)``, norm 1 each.

    An even size has its centre between voxels.
    """
    (_, o, parity_out), (_, i, parity_in) = out, into
    line = np.arange(size) - (size - 1) / 2
    points = np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1).reshape(-1, 3)
    radius = np.linalg.norm(points, axis=1)
    directions = points / np.maximum(radius, 1e-9)[:, None]
    found = []
    for between in range(abs(o - i), min(o + i, _LARGEST_J) + 1):
        if (-1) ** between != parity_out * parity_in:
            continue
        tensor = intertwiner(o, i, between).reshape(-1, 2 * between + 1)
        angular = harmonics(directions, between) @ tensor.T
        for shell in np.arange(line[-1] % 1, line[-1] + 0.1):
            if shell < 0.5 and between > 0:
                continue  # nothing turns about the middle of a voxel
            radial = np.exp(-0.5 * ((radius - shell) / _WIDTH) ** 2)
            radial[(radius < 1e-6) & (between > 0)] = 0
            radial[radius > line[-1] + 0.5] = 0
            kernel = (radial[:, None] * angular).T.reshape(2 * o + 1, 2 * i + 1, *(size,) * 3)
            found.append(kernel / np.linalg.norm(kernel))
    return np.array(found).reshape(-1, 2 * o + 1, 2 * i + 1, *(size,) * 3)


class SteerableConv(nn.Module):
    """Convolution from fields to fields.

    Parameters
    ----------
    into, out
        Fields of the input and of the output.
    size
        Of the kernel, voxels, odd; or even, then with a stride of 2.
    """

    def __init__(self, into: Fields, out: Fields, size: int = 5) -> None:
        super().__init__()
        self.into, self.out, self.size = into, out, size
        self.weights = nn.ParameterList()
        for o, field_out in enumerate(out):
            paths = [len(kernels(field_out, field_in, size)) for field_in in into]
            fan = sum(many * count for (many, *_), count in zip(into, paths, strict=True))
            for i, field_in in enumerate(into):
                basis = torch.from_numpy(kernels(field_out, field_in, size)).float()
                self.register_buffer(f"basis_{o}_{i}", basis, persistent=False)
                scale = ((2 * field_out[1] + 1) / max(fan, 1)) ** 0.5
                weight = scale * torch.randn(field_out[0], field_in[0], len(basis))
                self.weights.append(nn.Parameter(weight))
        scalars = sum(many for many, degree, parity in out if (degree, parity) == (0, 1))
        self.bias = nn.Parameter(torch.zeros(scalars))

    def kernel(self) -> Tensor:
        """All of it, ``(channels out, channels in, size, size, size)``."""
        rows = []
        weights = iter(self.weights)
        for o, (many, degree, _) in enumerate(self.out):
            parts = []
            for i in range(len(self.into)):
                part = torch.einsum(
                    "uvp,pabxyz->uavbxyz", next(weights), getattr(self, f"basis_{o}_{i}")
                )
                parts.append(part.reshape(many * (2 * degree + 1), -1, *(self.size,) * 3))
            rows.append(torch.cat(parts, dim=1))
        return torch.cat(rows)

    def forward(self, features: Tensor) -> Tensor:
        """Features ``(B, channels, X, Y, Z)`` of the output, as large as the input, or half."""
        kernel = self.kernel()
        bias = self._biases()
        if self.size % 2:
            return conv3d(features, kernel, bias, padding=self.size // 2)
        return conv3d(space_to_depth(features), polyphase(kernel), bias, padding=self.size // 4)

    def _biases(self) -> Tensor:
        """Of all channels; only scalars of even parity may have one."""
        parts, used = [], 0
        for many, degree, parity in self.out:
            if (degree, parity) == (0, 1):
                parts.append(self.bias[used : used + many])
                used += many
            else:
                parts.append(self.bias.new_zeros(many * (2 * degree + 1)))
        return torch.cat(parts)


class Gate(nn.Module):
    """Even scalars through SiLU; every other field times the sigmoid of a scalar of its own.

    Parameters
    ----------
    fields
        Of the output; the input has the gates, even scalars, behind them (`gated`).
    """

    def __init__(self, fields: Fields) -> None:
        super().__init__()
        self.fields = fields

    def forward(self, features: Tensor) -> Tensor:
        """Fields ``(B, channels, X, Y, Z)`` without the gates."""
        parts, gates = features.split([dimension(self.fields), _gates(self.fields)], dim=1)
        done, used, start = [], 0, 0
        for many, degree, parity in self.fields:
            width = 2 * degree + 1
            part = parts[:, start : start + many * width]
            start += many * width
            if (degree, parity) == (0, 1):
                done.append(silu(part))
                continue
            gate = gates[:, used : used + many].sigmoid().repeat_interleave(width, dim=1)
            used += many
            done.append(part * gate)
        return torch.cat(done, dim=1)


def _gates(fields: Fields) -> int:
    return sum(many for many, degree, parity in fields if (degree, parity) != (0, 1))


def gated(fields: Fields) -> Fields:
    """Fields that a `Gate` makes `fields` of."""
    return (*fields, (_gates(fields), 0, 1))


class FieldNorm(nn.Module):
    """Every field to a root mean square of 1 within a soft mask, times a factor that is learned."""

    def __init__(self, fields: Fields) -> None:
        super().__init__()
        self.fields = fields
        self.factor = nn.Parameter(torch.ones(sum(many for many, *_ in fields)))

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Features ``(B, channels, X, Y, Z)``; mask ``(B, 1, X, Y, Z)``, 0 to 1."""
        total = mask.sum((2, 3, 4)).clamp(min=1.0)
        powers = ((features.float().square() * mask).sum((2, 3, 4)) / total).split(
            [many * (2 * degree + 1) for many, degree, _ in self.fields], dim=1
        )
        scales = []
        for power, (many, degree, _) in zip(powers, self.fields, strict=True):
            mean = power.reshape(len(power), many, 2 * degree + 1).mean(-1)
            scales.append((mean + 1e-5).rsqrt())
        scale = torch.cat(scales, dim=1) * self.factor
        widths = torch.tensor(
            [2 * degree + 1 for many, degree, _ in self.fields for _ in range(many)],
            device=features.device,
        )
        return features * scale.repeat_interleave(widths, dim=1)[:, :, None, None, None].to(
            features.dtype
        )


def blur_pool(features: Tensor) -> Tensor:
    """Half the resolution, blurred before: binomial weights 1 3 3 1 along each axis."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0], device=features.device) / 8
    kernel = torch.einsum("x,y,z->xyz", line, line, line).to(features.dtype)
    channels = features.shape[1]
    return conv3d(
        features, kernel.expand(channels, 1, 4, 4, 4), stride=2, padding=1, groups=channels
    )


def polyphase(kernel: Tensor) -> Tensor:
    """A kernel of even size and stride 2 as one for `space_to_depth`: ``(O, 8 I, s/2, …)``.

    One channel in would leave a processor's wide arithmetic idle; eight do not. A size of 6 covers
    three blocks; sizes 2, 6, 10 are centred on a block, as padding wants it.
    """
    o, i, size = kernel.shape[:3]
    half = size // 2
    parts = kernel.reshape(o, i, half, 2, half, 2, half, 2)
    return parts.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(o, 8 * i, half, half, half)

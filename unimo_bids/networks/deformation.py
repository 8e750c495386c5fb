"""From two volumes, aligned rigidly, to the velocity that carries one onto the other: one pass.

What the network sees is made independent of contrast first: images less their local mean, over
their local standard deviation; how they correlate there; and the push that one step of matching
by that correlation would give, with its curvature. It learns how far such pushes are to be trusted,
and what lies between the places that push. Shapes, as signed distances, push in the same way.

Seen in the other order, a pair has the inverse deformation: the output is half the difference of
both orders, so that two equal volumes have none at all, whatever the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d, interpolate

from unimo_bids.deformation.matching import pushed, standardised, symmetric
from unimo_bids.deformation.modes import Modes
from unimo_bids.networks.pose import signed_distance
from unimo_bids.networks.unet import space_to_depth
from unimo_bids.networks.weights import FOLDER, load_weights
from unimo_bids.spatial.boxes import Box
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.interpolation import gaussian_blur

SAMPLES = 15  # of the field along each side of the box: waves down to a seventh of it
_FINE = 4  # voxels of the images to a sample of the field
VOXELS = SAMPLES * _FINE
WIDTH = 3.2  # of the box, in radii of a ball as large as the mask
_WINDOW = 3.0  # voxels: standard deviation of what is local
_WIDTHS = (0.7, 2.0)  # samples of the field: standard deviations of what a step takes together
_REACH = 4.0  # what the network calls 1, voxels of the images

# channels: both images, both distances, both pushes (they change their signs with the order), and
# what the order does not change: 6 of the curvature, the correlation, whether there are masks
_ORDER = [*range(8, 16), *range(8), 17, 16, *range(18, 32)]
_SIGNS = [1.0] * 18 + [-1.0] * 6 + [1.0] * 8


@dataclass(frozen=True, eq=False)
class Window:
    """The cube that a network looks at, and the fields that it gives.

    Attributes
    ----------
    box
        Of the images, along the grid's axes.
    modes
        Of the velocities: waves of the same cube.
    """

    box: Box
    modes: Modes
    grid: Grid

    @classmethod
    def about(cls, grid: Grid, weights: Tensor) -> Window:
        """Around what is weighted, ``(X, Y, Z)``, in a grid."""
        sizes = grid.sizes.numpy()
        total = float(weights.sum())
        radius = (3 * total * float(np.prod(sizes)) / (4 * np.pi)) ** (1 / 3)
        center = []
        for axis, n in enumerate(grid.shape):
            others = [other for other in range(3) if other != axis]
            along = weights.sum(dim=others).double().cpu()
            center.append(float(along @ torch.arange(n, dtype=torch.float64)) / total * sizes[axis])
        box = Box(WIDTH * radius / VOXELS, (VOXELS,) * 3, (center[0], center[1], center[2]))
        step = np.diag([*(_FINE * box.spacing / sizes), 1.0])
        first = [box.positions(axis)[0] + (_FINE - 1) / 2 * box.spacing for axis in range(3)]
        step[:3, 3] = np.array(first) / sizes
        coarse = Grid((SAMPLES,) * 3, grid.affine @ torch.from_numpy(step))
        return cls(box, Modes(coarse), grid)

    def read(self, volume: Tensor) -> Tensor:
        """A volume ``(X, Y, Z)`` of the grid as the network reads it."""
        return self.box.read(volume, self.grid.sizes.tolist())

    def velocity(self, found: Tensor) -> Tensor:
        """Values ``(3, M, M, M)`` of `modes`, RAS mm, of what a network gave."""
        axes = (self.grid.affine[:3, :3] / self.grid.sizes).to(found)
        return self.box.spacing * torch.einsum("ij,jxyz->ixyz", axes, found)


class DeformationNetwork(nn.Module):
    """U-Net whose output has the few waves of a box."""

    def __init__(self, widths: tuple[int, int, int, int] = (24, 48, 64, 64)) -> None:
        super().__init__()
        fine, field, coarse, coarsest = widths
        self.enter = _layers(len(_ORDER), fine)
        self.down = nn.ModuleList(
            [
                _layers(fine + 3 * len(_WIDTHS), field, field),
                _layers(field, coarse, coarse),
                _layers(coarse, coarsest, coarsest),
            ]
        )
        self.up = nn.ModuleList(
            [_layers(coarse + coarsest, coarse), _layers(field + coarse, field, field)]
        )
        self.head = nn.Conv3d(field, 3, 1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)
        # of the steps that need no learning
        self.trust = nn.Parameter(torch.full((len(_WIDTHS),), 0.3))

    def forward(self, seen: Seen) -> Tensor:
        """Velocities ``(B, 3, M, M, M)``, voxels of the images, that carry moving onto fixed."""
        there, back = self.one_way(seen), self.one_way(seen.exchanged())
        return (there - back) / 2

    def one_way(self, seen: Seen) -> Tensor:
        """Velocities for one order of the volumes, as in training."""
        x = self.enter(seen.channels)
        x = self.down[0](torch.cat([avg_pool3d(x, 2), seen.steps.flatten(1, 2)], dim=1))
        middle = self.down[1](avg_pool3d(x, 2, ceil_mode=True))
        bottom = self.down[2](avg_pool3d(middle, 2))
        back = self.up[0](torch.cat([middle, _enlarged(bottom, middle)], dim=1))
        back = self.up[1](torch.cat([x, _enlarged(back, x)], dim=1))
        return _REACH * (self.head(back) + torch.einsum("w,bwixyz->bixyz", self.trust, seen.steps))

    @torch.inference_mode()
    def velocity(
        self, fixed: Tensor, moving: Tensor, window: Window, masks: Tensor | None = None
    ) -> Tensor:
        """Start of `deformation.matching.register`, from volumes on the window's grid.

        Parameters
        ----------
        fixed, moving
            ``(X, Y, Z)``, aligned rigidly.
        masks
            ``(2, X, Y, Z)`` of both, if there are any.

        Returns ``(3, M, M, M)`` RAS mm, of ``window.modes``.
        """
        images = torch.stack([window.read(image) for image in (fixed, moving)])
        shapes = None if masks is None else torch.stack([window.read(mask) for mask in masks])
        seen = prepared(images[None], None if shapes is None else shapes[None])
        return window.velocity(self(seen)[0])


@dataclass(frozen=True, eq=False)
class Seen:
    """Pairs as the network sees them.

    Attributes
    ----------
    channels
        ``(B, C, N, N, N)`` at half the resolution of the images.
    steps
        ``(B, W, 3, M, M, M)`` one step of matching, of two widths, in units of `_REACH`.
    """

    channels: Tensor
    steps: Tensor

    @property
    def step(self) -> Tensor:
        """``(B, 3, M, M, M)`` the narrower one, voxels of the images: what needs no network."""
        return _REACH * self.steps[:, 0]

    def exchanged(self) -> Seen:
        """The same pairs in the other order."""
        signs = torch.tensor(_SIGNS).to(self.channels)[:, None, None, None]
        return Seen(self.channels[:, _ORDER] * signs, -self.steps)


def prepared(images: Tensor, masks: Tensor | None) -> Seen:
    """Channels of images and masks ``(B, 2, X, Y, Z)`` of fixed and moving."""
    local = standardised(images, _WINDOW)
    a, b = local.unbind(dim=1)
    alike, push, curved = pushed(a, b, _slopes(a), _slopes(b), _WINDOW)
    push, curved, halved = (avg_pool3d(part, 2) for part in (push, curved, alike[:, None]))
    if masks is None:
        shapes = push.new_zeros(len(images), 2, *push.shape[2:])
    else:
        coarse = avg_pool3d(masks, 2)
        shapes = signed_distance(coarse.flatten(0, 1)[:, None]).reshape(coarse.shape)
    pull = (shapes[:, :1] - shapes[:, 1:]) * _slopes(shapes.mean(dim=1))
    given = torch.full_like(halved, float(masks is not None))
    channels = [space_to_depth(local), shapes, push, pull, curved, halved, given]
    steps = torch.stack([_one_step(push, curved, width) for width in _WIDTHS], dim=1)
    return Seen(torch.cat(channels, dim=1), steps / _REACH)


def _slopes(images: Tensor) -> Tensor:
    """Central differences ``(B, 3, X, Y, Z)`` per voxel of ``(B, X, Y, Z)``."""
    return torch.stack(torch.gradient(images, dim=(1, 2, 3)), dim=1)


def _one_step(push: Tensor, curved: Tensor, width: float) -> Tensor:
    """Displacement that Gauss–Newton takes at every sample of the field by itself, voxels."""
    push, curved = (gaussian_blur(avg_pool3d(part, 2), [width] * 3) for part in (push, curved))
    matrix = symmetric(curved.movedim(1, -1))
    trace = matrix.diagonal(dim1=-2, dim2=-1).sum(dim=-1)[..., None, None]
    damping = 0.1 * trace + 0.1 * trace.mean(dim=(1, 2, 3), keepdim=True) + 1e-6
    damped = matrix + damping * torch.eye(3).to(matrix)
    return torch.linalg.solve(damped, push.movedim(1, -1)[..., None])[..., 0].movedim(-1, 1)


def _enlarged(coarse: Tensor, like: Tensor) -> Tensor:
    return interpolate(coarse, size=like.shape[2:], mode="trilinear", align_corners=False)


def _layers(channels: int, *widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, width in zip((channels, *widths), widths, strict=False):
        layers += [nn.Conv3d(before, width, 3, padding=1), nn.LeakyReLU(0.1, inplace=True)]
    return nn.Sequential(*layers)


@cache
def shipped_network() -> DeformationNetwork:
    """With the weights that come with the program."""
    network = DeformationNetwork()
    load_weights(network, FOLDER / "deform.safetensors")
    return network

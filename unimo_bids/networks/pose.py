"""The rigid transform between two volumes, from features that turn with them.

Two encoders of steerable convolutions read a volume: one its image, one its shape (the signed
distance of its mask). Each sums it up in a `Representation`: key points that its voxels vote for,
and pooled vectors, among them pseudovectors, which tell left from right. A turned and shifted
volume has a turned and shifted representation, so that the transform between two is one weighted
Procrustes problem; how much each term counts is up to both volumes.

Lengths are relative to the radius of what moves, and places to the middle of the box that is read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d, max_pool3d, softplus

from unimo_bids.networks.alignment import Alignment, Representation, align, slerp, together
from unimo_bids.networks.steerable import FieldNorm, Fields, Gate, SteerableConv, blur_pool, gated
from unimo_bids.words import Fusion, NetworkPart

VOXELS = 48  # of the box, along each side
WIDTH = 3.0  # of the box, radii
IMAGE_TERMS, SHAPE_TERMS = (32, 18), (16, 10)  # points and vectors that sum up each
RIGHT_DEG = 15.0  # a rotation nearer than this is in the right valley

_BALL = 1.3  # radii around the middle that are looked at without a mask
_FARTHEST = 8  # voxels from a mask's edge that its signed distance tells apart
_BRIGHTEST = 4.0  # standard deviations

# with their gates, channels in multiples of 16: processors multiply such blocks quickest
_IMAGE_FINE: Fields = ((10, 0, 1), (4, 1, -1), (1, 2, 1))
_IMAGE_COARSE: Fields = ((24, 0, 1), (8, 1, -1), (4, 1, 1), (4, 2, 1))
_SHAPE_FINE: Fields = ((6, 0, 1), (1, 1, -1), (1, 2, 1))
_SHAPE_COARSE: Fields = ((12, 0, 1), (4, 1, -1), (2, 1, 1), (2, 2, 1))


class _Block(nn.Module):
    """Convolution, gates, norm within the mask."""

    def __init__(self, into: Fields, out: Fields, size: int = 5) -> None:
        super().__init__()
        self.conv = SteerableConv(into, gated(out), size)
        self.gate, self.norm = Gate(out), FieldNorm(out)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.gate(self.conv(features)), mask)
        return normed


class Encoder(nn.Module):
    """Turns volumes into key points and vectors.

    Parameters
    ----------
    fine, coarse
        Fields at half and at a quarter of the box's resolution.
    points, vectors, pseudovectors
        How many to make.
    without
        Votes: key points are then centres of mass; or vectors: they then hardly count.
    """

    def __init__(
        self,
        channels: int,
        fine: Fields,
        coarse: Fields,
        *,
        fine_blocks: int,
        points: int,
        vectors: int,
        pseudovectors: int,
        without: Collection[NetworkPart] = (),
    ) -> None:
        super().__init__()
        self.without = without
        self.stem = _Block(((channels, 0, 1),), fine, size=6)
        self.fine = nn.ModuleList(_Block(fine, fine) for _ in range(fine_blocks))
        self.wide = _Block(fine, coarse)
        self.coarse = nn.ModuleList(_Block(coarse, coarse) for _ in range(2))
        self.heads: Fields = (
            *((points, 0, 1), (points, 1, -1)),
            *((vectors, 1, -1), (pseudovectors, 1, 1)),
        )
        self.head = SteerableConv(coarse, self.heads, size=1)
        self.trust = nn.Linear(coarse[0][0], points + vectors + pseudovectors)
        nn.init.zeros_(self.trust.weight)

    def forward(self, image: Tensor, mask: Tensor) -> Representation:
        """Representation of images ``(B, C, X, Y, Z)`` within soft masks ``(B, 1, X, Y, Z)``."""
        half, quarter = avg_pool3d(mask, 2), avg_pool3d(mask, 4)
        x = self.stem(image.contiguous(memory_format=torch.channels_last_3d), half)
        for block in self.fine:
            x = x + block(x, half)
        x = self.wide(blur_pool(x), quarter)
        for block in self.coarse:
            x = x + block(x, quarter)
        return self._read_out(x, quarter)

    def _read_out(self, features: Tensor, mask: Tensor) -> Representation:
        (k, *_), _, (m, *_), (p, *_) = self.heads
        heads = self.head(features).float().flatten(2)  # (B, channels, voxels)
        votes, offsets, directions = heads.split([k, 3 * k, 3 * (m + p)], dim=1)
        with torch.autocast(features.device.type, enabled=False):  # half a per cent would be felt
            if "votes" in self.without:
                offsets = torch.zeros_like(offsets)
            inside = mask.float().flatten(2)
            share = _shares(inside * softplus(votes).square())
            places = box_places(mask.shape[2:], mask.device).flatten(0, 2)
            points = share @ places + (share[:, :, None] * offsets.unflatten(1, (k, 3))).sum(-1)
            inside = _shares(inside)
            vectors = (inside * directions).sum(-1).unflatten(1, (m + p, 3))
            scalars = features[:, : self.trust.in_features].float().flatten(2)
            weights = softplus(self.trust((inside * scalars).sum(-1)))
            if "vectors" in self.without:
                weights = torch.cat([weights[:, :k], 1e-4 * weights[:, k:]], dim=1)
        return Representation(points, vectors, weights)


def _shares(weights: Tensor) -> Tensor:
    """Weights ``(B, channels, voxels)`` as shares of their sum over the voxels."""
    return weights / weights.sum(-1, keepdim=True).clamp(min=1e-6)


@dataclass(frozen=True)
class Seen:
    """B volumes as the encoders read them, all ``(B, channels, X, Y, Z)``.

    Attributes
    ----------
    image
        Intensity and edge strength within the mask, both standardised.
    mask
        Soft, of what is looked at.
    distance
        From the mask's edge, positive inside, radii; None if there is no mask.
    """

    image: Tensor
    mask: Tensor
    distance: Tensor | None


def seen(images: Tensor, masks: Tensor | None) -> Seen:
    """Prepare what boxes hold: images and soft masks ``(B, 1, X, Y, Z)``."""
    if masks is None:
        ball = box_places(images.shape[2:], images.device).norm(dim=-1)
        mask = (8 * (_BALL - ball)).sigmoid().expand_as(images)
        distance = None
    else:
        mask = avg_pool3d(max_pool3d(masks, 3, 1, 1), 3, 1, 1)
        distance = signed_distance(masks)
    image = _standardised(images, mask)
    smooth = avg_pool3d(image, 3, 1, 1)  # noise has edges everywhere
    slopes = torch.stack(torch.gradient(smooth, dim=(2, 3, 4)))
    edges = _standardised(slopes.square().sum(0).sqrt(), mask)
    return Seen(torch.cat([image, edges, torch.ones_like(mask)], dim=1) * mask, mask, distance)


def _standardised(image: Tensor, mask: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 within the mask, without the extremes."""
    for _ in range(2):  # again without what was cut off
        total = mask.sum((2, 3, 4), keepdim=True).clamp(min=1)
        mean = (mask * image).sum((2, 3, 4), keepdim=True) / total
        square = (mask * (image - mean).square()).sum((2, 3, 4), keepdim=True) / total
        image = (image - mean) / square.sqrt().clamp(min=1e-6)
        image = image.clamp(-_BRIGHTEST, _BRIGHTEST)
    return image


def signed_distance(masks: Tensor) -> Tensor:
    """From the edge of masks ``(B, 1, X, Y, Z)``, up to `_FARTHEST` shortest edges, in radii."""
    most = max(masks.shape[2:])
    both = []
    for region in (masks <= 0.5, masks > 0.5):  # to the nearest voxel of either
        square = torch.where(region, 0.0, float(_FARTHEST**2))
        for axis in (2, 3, 4):
            n = masks.shape[axis]
            nearest = square.clone()
            for step in range(1, min(n, _FARTHEST)):
                way = (step * most / n) ** 2  # a box is as wide along an axis of fewer voxels
                ahead = square.narrow(axis, step, n - step) + way
                behind = square.narrow(axis, 0, n - step) + way
                part = nearest.narrow(axis, 0, n - step)
                torch.minimum(part, ahead, out=part)
                part = nearest.narrow(axis, step, n - step)
                torch.minimum(part, behind, out=part)
            square = nearest
        both.append(square.sqrt())
    return (both[0] - both[1]) * (WIDTH / most)


def box_places(shape: Sequence[int], device: torch.device) -> Tensor:
    """Where a box's voxels are, ``(X, Y, Z, 3)`` radii from its middle."""
    axes = [WIDTH / n * (torch.arange(n, device=device) - (n - 1) / 2) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


class PoseNetwork(nn.Module):
    """Image and shape of volumes to representations, and pairs of these to poses."""

    def __init__(self, without: Collection[NetworkPart] = ()) -> None:
        super().__init__()
        self.image = Encoder(
            3,
            _IMAGE_FINE,
            _IMAGE_COARSE,
            fine_blocks=1,
            points=32,
            vectors=12,
            pseudovectors=6,
            without=without,
        )
        self.shape = Encoder(
            1,
            _SHAPE_FINE,
            _SHAPE_COARSE,
            fine_blocks=0,
            points=16,
            vectors=6,
            pseudovectors=4,
            without=without,
        )
        # shape's part in the fusion, before the sigmoid: by information, by slerp
        self.shares = nn.Parameter(torch.zeros(2))
        # evidence to the odds that a rotation is within `RIGHT_DEG`
        self.odds = nn.Linear(3, 1)

    def forward(self, volumes: Seen) -> Volumes:
        """Representations of images, and of their shapes where known."""
        shape = None
        if volumes.distance is not None:
            shape = self.shape(volumes.distance, volumes.mask)
        return Volumes(self.image(volumes.image, volumes.mask), shape)

    def align(
        self, fixed: Volumes, moving: Volumes, fusion: Fusion = "information"
    ) -> tuple[Tensor, Tensor]:
        """Poses ``(B, 4, 4)`` fixed → moving, in radii, and the confidence ``(B,)`` in each."""
        by_image = align(fixed.image, moving.image)
        if fixed.shape is None or moving.shape is None or fusion == "image":
            return by_image.poses, self.confidence(by_image)
        by_shape = align(fixed.shape, moving.shape)
        if fusion == "shape":
            return by_shape.poses, self.confidence(by_shape)
        shares = self.information()
        both = align(fixed.fused(shares), moving.fused(shares))
        if fusion == "slerp":
            share = self.shares[1].sigmoid()
            return slerp(by_image.poses, by_shape.poses, share), self.confidence(both)
        return both.poses, self.confidence(both)

    def information(self) -> tuple[Tensor, Tensor]:
        """Shares of image and shape when each counts by what it knows."""
        share = self.shares[0].sigmoid()
        return 1 - share, share

    def confidence(self, found: Alignment) -> Tensor:
        """Probability ``(B,)`` that a rotation is within `RIGHT_DEG` of the right one."""
        odds: Tensor = self.odds(found.evidence.float())
        return odds[:, 0].sigmoid()


@dataclass(frozen=True)
class Volumes:
    """Representations of B volumes: of their images, and of their shapes if masks were given."""

    image: Representation
    shape: Representation | None

    def __getitem__(self, which: Any) -> Volumes:
        """Some of them."""
        return Volumes(self.image[which], None if self.shape is None else self.shape[which])

    def fused(self, shares: Sequence[Tensor]) -> Representation:
        """One representation of both, with shares of the weight for image and shape."""
        return self.image if self.shape is None else together((self.image, self.shape), shares)

"""The fixed side of a registration: points, and all that Gauss–Newton needs to know of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unimo_bids.brain.head import MaskError
from unimo_bids.registration.least_squares import products
from unimo_bids.registration.levels import Level
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import smooth_fields, voxel_centers
from unimo_bids.spatial.interpolation import gradient
from unimo_bids.words import IntensityModel

LEAST_WEIGHT = 0.05  # below, a point costs as much as any and tells nothing
EDGE = 0.5  # of a cube, radii of the head: wider than tissues are, and a head has 50 of them


@dataclass(frozen=True)
class Channel:
    """One feature of the target (intensity, edge strength) at N points: J images, K terms.

    Attributes
    ----------
    steepest
        ``(J, 6, N)`` change of each image per mm of the six parameters.
    terms
        ``(K, N)`` φ.
    slopes
        ``(K, N)`` derivative of each term with respect to the image it is made of.
    image_of
        ``(K,)`` which image that is.
    backdrop
        ``(L, N)`` what any place would show without the head: a constant, the smooth fields.
    """

    steepest: Tensor
    terms: Tensor
    slopes: Tensor
    image_of: Tensor
    backdrop: Tensor

    # Sums of these with a frame's weights make up its normal equations: for all frames at once, in
    # one product of matrices.
    @cached_property
    def term_products(self) -> Tensor:
        """Of each two terms, ``(K (K + 1) / 2, N)``."""
        return products(self.terms)

    @cached_property
    def backdrop_products(self) -> Tensor:
        """Of each two parts of the backdrop, ``(L (L + 1) / 2, N)``."""
        return products(self.backdrop)

    @cached_property
    def steepest_products(self) -> Tensor:
        """Of the first image's changes, ``(21, N)``."""
        return products(self.steepest[0])

    @cached_property
    def mixed_products(self) -> Tensor:
        """Of the first image's changes with each term, ``(6 K, N)``."""
        return (self.steepest[0][:, None] * self.terms).flatten(0, 1)


@dataclass(frozen=True)
class Target:
    """What frames are registered to: fixed points with all that Gauss–Newton needs of them.

    Attributes
    ----------
    level
        The resolution at which frames must be presented.
    points
        ``(N, 3)`` mm relative to `center`.
    weights
        ``(N,)`` soft mask.
    center
        ``(3,)`` mm, the point motions turn about.
    radius
        mm, of the masked head; scales rotations.
    """

    level: Level
    points: Tensor
    weights: Tensor
    center: Tensor
    radius: float
    channels: tuple[Channel, ...]

    @cached_property
    def cubes(self) -> Tensor:
        """Parts of the head that each point is in, ``(N, G)``, of `cubes`."""
        return cubes(self.points, EDGE * self.radius)

    @cached_property
    def correlated(self) -> float:
        """How many points say the same: a blur of σ voxels makes ``(2 √π σ)³`` of them agree."""
        sigma = (self.level.blur / self.level.grid.sizes).clamp(min=1 / (2 * math.sqrt(math.pi)))
        together = float(torch.prod(2 * math.sqrt(math.pi) * sigma))
        density = len(self.points) / max(1.0, float(self.weights.sum()))
        return max(1.0, together * min(1.0, density))


def make_target(
    features: Sequence[Tensor],
    weights: Tensor,
    level: Level,
    *,
    center: Tensor,
    radius: float,
    model: IntensityModel = "gain",
    max_points: int = 32_768,
) -> Target:
    """Prepare the fixed side of a registration.

    Parameters
    ----------
    features
        For each channel ``(J, X, Y, Z)`` images of the reference at `level`; of several, any
        combination may make up a frame.
    weights
        ``(X, Y, Z)`` soft mask at `level`.
    model
        ``gain``: gain and offset; ``bias``: also a smooth field in place (second order), as a
        head sees it that moves in a coil's.
    max_points
        Keep the points with the most information (weight × gradient) when there are more.
    """
    grid = level.grid
    places = voxel_centers(grid.shape, weights.device)
    flat_weights = weights.reshape(-1) * level.validity(places).to(weights)
    slopes = [gradient(images, grid.affine).reshape(len(images), -1, 3) for images in features]
    chosen = flat_weights > LEAST_WEIGHT
    if int(chosen.sum()) > max_points:
        strength = torch.zeros_like(flat_weights)
        for slope in slopes:
            steepness = torch.linalg.norm(slope, dim=(0, 2))
            strength += steepness / steepness.mean()
        keep = torch.topk(strength * flat_weights * chosen, max_points).indices
        chosen = torch.zeros_like(chosen).index_fill_(0, keep, True)
    index = torch.nonzero(chosen)[:, 0]
    if len(index) == 0:
        raise MaskError("the mask lies outside the field of view")

    world = rigid.transform(grid.affine.to(places), places[index])
    points = (world - center.to(world)).float()
    return Target(
        level=level,
        points=points,
        weights=flat_weights[index],
        center=center.double(),
        radius=radius,
        channels=tuple(
            _channel(
                images.reshape(len(images), -1)[:, index], slope[:, index], points / radius, model
            )
            for images, slope in zip(features, slopes, strict=True)
        ),
    )


def _channel(f: Tensor, slope: Tensor, place: Tensor, model: IntensityModel) -> Channel:
    """Terms of one feature from ``(J, N)`` images, their gradients, and places of unit size."""
    arm = place.expand(len(f), -1, -1)
    steepest = torch.cat([torch.linalg.cross(arm, slope), slope], dim=-1).mT.contiguous()
    one = torch.ones_like(f[0])
    terms, slopes, image_of = [*f, one], [one] * len(f) + [0 * one], [*range(len(f)), 0]
    backdrop = [one]
    if model == "bias":
        for field in smooth_fields(place):
            terms.append(f[0] * field)
            slopes.append(field)
            image_of.append(0)
            backdrop.append(field)
    return Channel(
        steepest=steepest,
        terms=torch.stack(terms),
        slopes=torch.stack(slopes),
        image_of=torch.tensor(image_of, device=f.device),
        backdrop=torch.stack(backdrop),
    )


def cubes(points: Tensor, edge: float) -> Tensor:
    """Which cube each point is in, ``(N, G)`` float32: one 1 in each row, no empty column.

    Parameters
    ----------
    points
        ``(N, 3)`` relative to the head's centre, which is that of a cube.
    edge
        In the unit of the points.

    Examples
    --------
    >>> cubes(torch.tensor([[0.0, 0, 0], [0, 0, 9], [1, 1, 1]]), edge=4.0)
    tensor([[1., 0.],
            [0., 1.],
            [1., 0.]])
    """
    places = torch.round(points / edge).long()
    places = places - places.amin(dim=0)
    # one number for all three is found far quicker than rows that are alike
    _, many_y, many_z = (places.amax(dim=0) + 1).tolist()
    number = (places[:, 0] * many_y + places[:, 1]) * many_z + places[:, 2]
    present, cube = torch.unique(number, return_inverse=True)
    of_cube = torch.zeros(len(points), len(present), device=points.device)
    return of_cube.scatter_(1, cube[:, None], 1.0)

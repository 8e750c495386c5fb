"""The rigid transform between two volumes, whatever their grids: starts, then Gauss–Newton.

The network's pose, aligned centres and no motion at all are refined coarsely side by side; unless
the network is sure, and right as far as can be seen, all rotations are searched. Each is refined at
full resolution, and the one that explains most is believed. Until the last step volumes are evened:
what lies still in the scanner, as the coils' sensitivity, would pull a turned head back. Where
contrasts differ, classes of the fixed volume's intensity stand for its tissues.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimo_bids.motion.contrast import tissue_images
from unimo_bids.motion.levels import Level, make_level
from unimo_bids.motion.masks import ADULT_RADIUS, Head, NoImageError, find_head
from unimo_bids.motion.registration import (
    IntensityModel,
    Registration,
    make_target,
    register,
)
from unimo_bids.motion.search import search_poses
from unimo_bids.motion.unimo import SURE, PoseFinder
from unimo_bids.networks.pose import Fusion
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grids import inside, voxel_sizes, world_points
from unimo_bids.spatial.interpolation import gaussian_blur, sample_linear

Affine = NDArray[np.float64]
Volume = NDArray[np.generic]

# below this correlation at the coarse level a pose does not explain the moving volume
_UNEXPLAINED = 0.9
# tissues explain the moving volume so much better than intensity that contrasts must differ
_CLEARLY_BETTER = 0.5
_REACH = 2.2  # radii around a head that anything is looked at
_AGREE = 0.75  # of one mask inside the other, at least
_EVEN = 0.25  # radii, over which the coils' sensitivity may vary
_DARKEST, _BRIGHTEST = 0.05, 4.0  # of the average, so that nothing outside the head takes over
_COARSE_POINTS, _FINE_POINTS, _FINE_BLUR = 8_192, 30_000, 0.7


@dataclass(frozen=True)
class PairPose:
    """How one volume is carried onto another.

    Attributes
    ----------
    pose
        ``(4, 4)`` float64 RAS mm, fixed → moving.
    covariance
        ``(6, 6)`` of a small motion of the fixed volume before the pose: rotation vector (rad)
        about its centre and translation (mm); None without refinement.
    similarity
        Correlation of the moving volume with the fixed one at the pose, 0 … 1.
    confidence
        The network's, that its rotation is within 15 degrees; None without network.
    start
        What was refined: "network", "centres", "rest" or "search".
    """

    pose: Affine
    covariance: NDArray[np.float64] | None
    similarity: float
    confidence: float | None
    start: str


@dataclass(frozen=True)
class _Side:
    """A volume, what moves in it, and where it is."""

    volume: Tensor
    affine: Tensor
    mask: Tensor | None
    head: Head

    def around_head(self) -> _Side:
        """Without the voxels that are far from the head."""
        back = torch.linalg.inv(self.affine)
        middle = rigid.transform(back, self.head.center.cpu()[None])[0]
        reach = _REACH * self.head.radius * torch.linalg.norm(back[:3, :3], dim=1)
        first = (middle - reach).floor().long().clamp(min=0).tolist()
        last = (middle + reach).ceil().long().add(1).tolist()
        window = tuple(slice(start, stop) for start, stop in zip(first, last, strict=True))
        affine = self.affine.clone()
        affine[:3, 3] += self.affine[:3, :3] @ torch.tensor(first, dtype=torch.float64)
        return _Side(
            self.volume[window],
            affine,
            None if self.mask is None else self.mask[window],
            replace(self.head, weights=self.head.weights[window]),
        )

    def evened(self) -> _Side:
        """Each voxel relative to the average around it: without the coils' sensitivity."""
        weights = self.head.weights
        widths = (_EVEN * self.head.radius / voxel_sizes(self.affine)).tolist()
        near = gaussian_blur(weights, widths).clamp(min=1e-3)
        average = gaussian_blur(weights * self.volume, widths) / near
        least = _DARKEST * (weights * self.volume).sum() / weights.sum()
        return replace(self, volume=(self.volume / average.clamp(min=least)).clamp(max=_BRIGHTEST))

    def widest(self) -> float:
        """Of the voxel's sizes, mm."""
        return float(voxel_sizes(self.affine).max())

    def level(self, blur: float, *, cubic: bool = False, spacing: float = 0.0) -> Level:
        return make_level(
            self.volume.shape,
            self.affine,
            blur=blur,
            spacing=spacing,
            cubic=cubic,
            device=self.volume.device,
        )


def register_volumes(
    fixed: Volume,
    fixed_affine: Affine,
    moving: Volume,
    moving_affine: Affine,
    *,
    fixed_mask: Volume | None = None,
    moving_mask: Volume | None = None,
    refine: bool = True,
    network: bool = True,
    fusion: Fusion = "information",
    device: str | torch.device = "cpu",
) -> PairPose:
    """Find the rigid transform between two volumes of the same thing.

    Parameters
    ----------
    fixed, moving
        ``(X, Y, Z)``, each on a grid of its own.
    fixed_affine, moving_affine
        ``(4, 4)`` voxel → RAS mm.
    fixed_mask, moving_mask
        What moves rigidly, bool or soft (0 … 1), each on its volume's grid. Without the fixed one,
        everything that is not air; without the moving one, the network goes by the image alone.
    refine
        Without it the pose is the network's answer as it stands.
    network
        Ask the network at all.
    fusion
        How it brings together image and shape.

    Examples
    --------
    >>> found = register_volumes(a, affine_a, b, affine_b)            # doctest: +SKIP
    >>> moving_points = found.pose[:3, :3] @ points + found.pose[:3, 3:]  # doctest: +SKIP
    """
    if not (refine or network):
        raise ValueError("with neither network nor refinement there is nothing to do")
    with torch.inference_mode():
        a = _side(fixed, fixed_affine, fixed_mask, device).around_head()
        b = _side(moving, moving_affine, moving_mask, device)
        if moving_mask is not None:
            b = b.around_head()
        starts: dict[str, Tensor] = {}
        confidence = None
        if network:
            starts["network"], confidence = _by_network(a, b, fusion)
        rest = torch.eye(4, dtype=torch.float64, device=a.volume.device)
        if not refine:
            found = _Coarse(a, b).tried(starts["network"][None], tissues=False, refine=False)
            start, covariance = "network", None
        else:
            shift = rest.clone()
            shift[:3, 3] = b.head.center - a.head.center
            starts |= {"centres": shift, "rest": rest}
            sure = confidence is not None and confidence > SURE
            found, start = _refined(a, b, starts, sure)
            covariance = found.covariance[0].cpu().numpy()
    return PairPose(
        found.poses[0].cpu().numpy(), covariance, float(found.similarity[0]), confidence, start
    )


def _side(volume: Volume, affine: Affine, mask: Volume | None, device: str | torch.device) -> _Side:
    values = torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32)).to(device)
    world = torch.as_tensor(np.asarray(affine, dtype=np.float64))
    bright = torch.quantile(values.flatten()[:: max(1, values.numel() // 1_000_000)], 0.98)
    if float(values.std()) <= 1e-6 * float(values.abs().max()):
        raise NoImageError("a volume is empty or constant, or nearly so")
    values = values / (bright if bright > 0 else values.abs().max())
    given = None if mask is None else torch.from_numpy(np.asarray(mask, np.float32)).to(device)
    head = find_head(values, world, mask, largest=1.5 * ADULT_RADIUS)
    return _Side(values, world, given, head)


def _by_network(a: _Side, b: _Side, fusion: Fusion) -> tuple[Tensor, float]:
    finder = PoseFinder(a.head.radius, a.volume.device, fusion)
    masked = a.mask is not None and b.mask is not None
    fixed, moving = (
        finder.look(
            side.volume, side.affine.numpy(), side.mask if masked else None, side.head.center
        )
        for side in (a, b)
    )
    return finder.pose(fixed, moving)


def _refined(a: _Side, b: _Side, starts: dict[str, Tensor], sure: bool) -> tuple[Registration, str]:
    """The pose that explains most at full resolution, and what it started from."""
    even = a.evened(), b.evened()
    coarse = _Coarse(*even)
    names, poses = list(starts), torch.stack(list(starts.values()))
    near = coarse.tried(poses, tissues=False)
    # with nothing to compare it with, a good coarse fit alone is no proof
    if sure and float(_score(near, a, b).max()) > _UNEXPLAINED:
        found = [near]
    else:
        poses = torch.cat([poses, coarse.searched()])
        names += ["search"] * (len(poses) - len(names))
        found = [coarse.tried(poses, tissues=tissues) for tissues in (False, True)]
    fine, starts_of = [], []
    for tissues, tried in enumerate(found):
        refined = _fine(*even, tried.poses, tissues=bool(tissues))
        best = int(_score(refined, a, b).argmax())
        fine.append(_row(refined, best))
        starts_of.append(names[best])
    left = [1 - float(_score(one, a, b)) ** 2 for one in fine]
    tissues = left[-1] < _CLEARLY_BETTER * left[0]
    # averages near an edge differ between the volumes: intensities as they are may fit better
    model: IntensityModel = "gain" if tissues else "bias"
    last = [
        _fine(*way, fine[tissues].poses, tissues=tissues, model=model) for way in (even, (a, b))
    ]
    return max(last, key=lambda one: float(_score(one, a, b))), starts_of[tissues]


def _row(found: Registration, row: int) -> Registration:
    one = slice(row, row + 1)
    return Registration(
        found.poses[one], found.covariance[one], found.similarity[one], found.in_view[one]
    )


class _Coarse:
    """Both volumes at a resolution at which any start within half a head's radius is found."""

    def __init__(self, fixed: _Side, moving: _Side) -> None:
        self.fixed, self.moving = fixed, moving
        widest = max(side.widest() for side in (fixed, moving))
        self.blur = max(5.0 * fixed.head.radius / ADULT_RADIUS, 0.7 * widest)
        self.levels = [side.level(self.blur, spacing=1.2 * self.blur) for side in (fixed, moving)]
        self.weights = self.levels[0].image(fixed.head.weights).clamp(0, 1)
        self.sampled = self.levels[1].image(moving.volume)[None, None]

    def tried(self, poses: Tensor, *, tissues: bool, refine: bool = True) -> Registration:
        """Register from every start ``(N, 4, 4)``, or only judge it."""
        images = _images(self.fixed, tissues=tissues)
        target = make_target(
            [self.levels[0].image(images)],
            self.weights,
            self.levels[0],
            center=self.fixed.head.center,
            radius=self.fixed.head.radius,
            max_points=_COARSE_POINTS,
        )
        return register(
            target,
            self.sampled.expand(len(poses), -1, -1, -1, -1),
            poses,
            level=self.levels[1],
            iterations=20 if refine else 1,
            tolerance=0.05 if refine else 0.0,
        )

    def searched(self) -> Tensor:
        """Poses ``(N, 4, 4)`` from all rotations and translations.

        On one grid for both volumes, each with the centre of its head in the grid's.
        """
        spacing = 1.2 * self.blur
        centers = [side.head.center for side in (self.fixed, self.moving)]
        farthest = (_corners(self.moving) - centers[1].cpu()).abs().amax(dim=0)
        reach = torch.clamp(farthest, min=_REACH * self.fixed.head.radius)
        x, y, z = (2 * (reach / spacing).ceil().long() + 1).tolist()
        affine = torch.diag(torch.tensor([spacing, spacing, spacing, 1.0], dtype=torch.float64))
        affine[:3, 3] = -spacing * (torch.tensor([x, y, z]) - 1) / 2
        device = self.sampled.device
        common = make_level((x, y, z), affine, blur=0.0, device=device)
        grid = world_points((x, y, z), affine.to(device))

        def at(image: Tensor, level: Level, center: Tensor) -> Tensor:
            to_index = torch.linalg.inv(level.affine).to(grid)
            indices = rigid.transform(to_index, grid + center.to(grid)).float()[None]
            return sample_linear(image[None, None], indices).reshape(x, y, z)

        fixed = self.levels[0].image(self.fixed.volume)
        poses, _ = search_poses(
            at(fixed, self.levels[0], centers[0]),
            at(self.weights, self.levels[0], centers[0]),
            at(self.sampled[0, 0], self.levels[1], centers[1])[None],
            common,
            center=torch.zeros(3, dtype=torch.float64, device=device),
            radius=self.fixed.head.radius,
        )
        found = poses[0]
        found[:, :3, 3] += centers[1].to(found) - found[:, :3, :3] @ centers[0].to(found)
        return found


def _fine(
    fixed: _Side, moving: _Side, poses: Tensor, *, tissues: bool, model: IntensityModel = "gain"
) -> Registration:
    blur = _FINE_BLUR * max(side.widest() for side in (fixed, moving))
    levels = [side.level(blur, cubic=True) for side in (fixed, moving)]
    target = make_target(
        [levels[0].image(_images(fixed, tissues=tissues))],
        levels[0].image(fixed.head.weights).clamp(0, 1),
        levels[0],
        center=fixed.head.center,
        radius=fixed.head.radius,
        model=model,
        max_points=_FINE_POINTS,
    )
    sampled = levels[1].sampled(moving.volume[None])[:, None]
    return register(target, sampled.expand(len(poses), -1, -1, -1, -1), poses, level=levels[1])


def _images(side: _Side, *, tissues: bool) -> Tensor:
    """What stands for a volume, ``(J, X, Y, Z)``."""
    if not tissues:
        return side.volume[None]
    smooth = side.level(0.5 * float(voxel_sizes(side.affine).max())).image(side.volume)
    return tissue_images(smooth, side.head.weights)


def _corners(side: _Side) -> Tensor:
    """Of a volume's grid, ``(8, 3)`` RAS mm."""
    ends = [torch.tensor([0.0, n - 1.0], dtype=torch.float64) for n in side.volume.shape]
    return rigid.transform(side.affine, torch.cartesian_prod(*ends))


def _score(found: Registration, a: _Side, b: _Side) -> Tensor:
    """Similarity, less where little of what moves is in view: a sliver fits anything.

    Less also where masks of both volumes would miss each other.
    """
    score = found.similarity * (found.in_view / 0.5).clamp(max=1)
    if a.mask is None or b.mask is None:
        return score
    voxels = (a.head.weights > 0.5).nonzero().double()
    points = rigid.transform(a.affine.to(voxels), voxels[:: max(1, len(voxels) // 2000)])
    onto = torch.linalg.inv(b.affine).to(found.poses) @ found.poses
    images = b.head.weights[None, None].expand(len(onto), -1, -1, -1, -1)
    indices = rigid.transform(onto, points)
    within = sample_linear(images, indices.float())[:, 0] * inside(indices, b.volume.shape)
    enough = _AGREE * min(1.0, (b.head.radius / a.head.radius) ** 3)  # a smaller one holds less
    return score * (within.mean(dim=-1) / enough).clamp(max=1)

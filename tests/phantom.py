"""A head of smooth-edged ellipsoids, known everywhere: any frame of it is exact at any pose.

No two parts mirror each other. Nothing is sampled from a volume, so that no interpolation of ours
is in the truth.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from unimo_bids.registration.levels import Level, make_level
from unimo_bids.registration.target import (
    Target,
    make_target,
)
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid, world_points
from unimo_bids.words import IntensityModel

SHAPE = (36, 40, 30)
RADIUS = 35.0  # of the head, about, mm
EDGE = 2.0  # of the logistic edges, mm; as a Gaussian blur 3.6 mm
# centre, half axes (mm), change of intensity
_PARTS = (
    ((0, 0, 0), (31, 38, 34), 100.0),
    ((0, 1, 1), (27, 34, 30), -35.0),
    ((-9, 8, 6), (5, 14, 7), 70.0),
    ((10, 3, 9), (6, 11, 6), 60.0),
    ((3, -20, -14), (17, 9, 9), -30.0),
    ((-2, -8, -24), (7, 7, 12), 45.0),
    ((16, 24, -8), (8, 8, 8), 75.0),
    ((-17, 22, -12), (7, 9, 7), 55.0),
    ((-18, -12, 12), (8, 10, 9), -28.0),
)


def f64(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def head(points: Tensor, gains: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Tensor:
    """Intensity at points ``(N, 3)`` mm, ``(N,)``; 0 in the air around.

    The parts are of three tissues in turn, whose intensities are multiplied by `gains`.
    """
    total = torch.zeros(len(points), dtype=torch.float64)
    for part, (place, axes, change) in enumerate(_PARTS):
        radius = torch.linalg.norm((points - f64(place)) / f64(axes), dim=-1)
        total += gains[part % 3] * change * torch.sigmoid((1 - radius) * min(axes) / EDGE)
    return total


def grid_affine(
    sizes: tuple[float, float, float] = (3.0, 3.0, 3.0),
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0),
    shape: tuple[int, int, int] = SHAPE,
) -> Tensor:
    """Voxels of the given edges (negative: flipped), turned, the head's centre in the middle."""
    affine = rigid.from_parameters(f64(turn), f64([0.0, 0.0, 0.0]))
    affine[:3, :3] = affine[:3, :3] @ torch.diag(f64(sizes))
    affine[:3, 3] = -affine[:3, :3] @ ((f64(shape) - 1) / 2)
    return affine


AFFINE = grid_affine()
GRID = Grid(SHAPE, AFFINE)


def volume(
    pose: Tensor,
    affine: Tensor = AFFINE,
    shape: tuple[int, int, int] = SHAPE,
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Tensor:
    """The head at a pose, ``(X, Y, Z)`` float32."""
    points = rigid.transform(rigid.inverse(pose), world_points(shape, affine))
    return head(points, gains).reshape(shape).float()


def volumes(poses: Tensor, **grid: object) -> Tensor:
    return torch.stack([volume(pose, **grid) for pose in poses])  # type: ignore[arg-type]


def head_mask(
    affine: Tensor = AFFINE, shape: tuple[int, int, int] = SHAPE, grown: float = 1.0
) -> Tensor:
    """1 within the head at rest, ``(X, Y, Z)`` float32."""
    place, axes, _ = _PARTS[0]
    points = (world_points(shape, affine) - f64(place)) / (grown * f64(axes))
    return (torch.linalg.norm(points, dim=-1) < 1).reshape(shape).float()


def pose(degrees: tuple[float, float, float], shift: tuple[float, float, float]) -> Tensor:
    return rigid.from_parameters(f64(degrees) * math.pi / 180, f64(shift))


def random_poses(count: int, degrees: float, shift: float, seed: int = 0) -> Tensor:
    """Turns of exactly `degrees` about random axes, shifts of exactly `shift` mm."""
    rng = np.random.default_rng(seed)
    arrows = rng.standard_normal((2, count, 3))
    turn, place = torch.from_numpy(arrows / np.linalg.norm(arrows, axis=-1, keepdims=True))
    return rigid.from_parameters(math.radians(degrees) * turn, shift * place)


def noise(shape: tuple[int, ...], sigma: float, seed: int = 0) -> Tensor:
    return sigma * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def error_mm(found: Tensor, true: Tensor) -> Tensor:
    """Largest displacement on the head's surface along the axes, ``(B,)`` mm."""
    arms = torch.cat([torch.eye(3), -torch.eye(3)]).double() * RADIUS
    return rigid.displacement(found, true, arms.to(found.device)).amax(dim=-1).cpu()


def fine_level(affine: Tensor = AFFINE, shape: tuple[int, int, int] = SHAPE, **options) -> Level:
    """As the series is refined: full resolution, blurred by 0.7 voxels, cubic."""
    blur = 0.7 * float(torch.linalg.norm(affine[:3, :3], dim=0).max())
    return make_level(Grid(shape, affine), **{"blur": blur, "cubic": True} | options)


def target_of(level: Level, images: Tensor, mask: Tensor, model: IntensityModel = "gain") -> Target:
    """Target of one intensity channel from raw volumes ``(J, X, Y, Z)``."""
    device = level.matrices[0].device
    return make_target(
        [level.image(images.to(device))],
        level.image(mask.to(device)).clamp(0, 1),
        level,
        center=f64([0.0, 0.0, 0.0]).to(device),
        radius=RADIUS,
        model=model,
    )


def frames_at(level: Level, frames: Tensor) -> Tensor:
    """Raw frames ``(B, X, Y, Z)`` as `register` wants them."""
    return level.sampled(frames.to(level.matrices[0].device))[:, None]


def rest(count: int, device: str = "cpu") -> Tensor:
    return torch.eye(4, dtype=torch.float64, device=device).repeat(count, 1, 1)

"""The phantom's head as a template, and in a run: stretched, turned, in another contrast."""

from __future__ import annotations

import torch

from tests import phantom
from unimo_bids.spaces.standard import Head
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid

SHAPE = (40, 42, 38)
STRETCH = torch.diag(torch.tensor([1.08, 0.95, 1.03, 1.0], dtype=torch.float64))


def grid(size: float = 3.0) -> Grid:
    shape = (SHAPE[0], SHAPE[1], SHAPE[2])
    return Grid(shape, phantom.grid_affine((size, size, size), shape=shape))


def seen(matrix: torch.Tensor, gains: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Head:
    """The head where a template's place x is at ``matrix @ x``."""
    where = grid()
    points = rigid.transform(torch.linalg.inv(matrix), where.points())
    image, mask = phantom.head(points, gains), phantom.head(points) > 30
    volumes = (part.reshape(SHAPE).float().numpy() for part in (image, mask))
    return Head(*volumes, where)

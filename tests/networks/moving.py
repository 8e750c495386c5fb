"""Series that move as is known, and what is measured of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from unimo_bids.networks.measuring import DISAGREEMENT, EVIDENCE
from unimo_bids.networks.temporal import Known
from unimo_bids.spatial import rigid

RADIUS = 40.0


def constant(times: Tensor) -> tuple[Tensor, Tensor]:
    """Turns and places of a head that turns by 2 degrees and moves by .7 mm in a second."""
    turn = torch.tensor([0.02, -0.01, 0.03]).double() * times[:, None]
    return rigid.rotation_matrix(turn), torch.tensor([0.5, -0.4, 0.3]).double() * times[:, None]


def known(
    rotation: Tensor, place: Tensor, times: Tensor, deviation: float = 0.5, seed: int = 0
) -> Known:
    """What is measured: the poses, off by a deviation, and some evidence."""
    rng = np.random.default_rng(seed)
    many = len(times)
    noise = deviation * torch.as_tensor(rng.standard_normal((2, many, 3)))
    return Known(
        (rotation @ rigid.rotation_matrix(noise[0] / RADIUS))[None],
        (place + noise[1])[None],
        torch.as_tensor(rng.standard_normal((1, many, EVIDENCE)) - 4),
        torch.as_tensor(rng.standard_normal((1, many, DISAGREEMENT, 3))),
        torch.full((1, many, 2), deviation).double(),
        torch.ones(1, many, dtype=torch.bool),
        times[None],
        torch.tensor([RADIUS]),
    )


def uneven(many: int, seed: int = 0) -> Tensor:
    """Times between which 1 to 4 s pass."""
    return torch.as_tensor(np.random.default_rng(seed).uniform(1, 4, many)).cumsum(0)

"""What slices' gains, and slopes of these, take up of brightness."""

import torch

from unimo_bids.motion.slices.intensity import SliceIntensity
from unimo_bids.motion.slices.points import Points

SLICES, MANY, RADIUS = 8, 400, 10.0


def compared(tilt: float, believed: bool = True) -> tuple[SliceIntensity, torch.Tensor]:
    """Slices brighter on one side, every other one on the other; and by how much."""
    rng = torch.Generator().manual_seed(0)
    f = 1 + 0.3 * torch.randn(SLICES, MANY, generator=rng)
    index = RADIUS * (2 * torch.rand(SLICES, 3, MANY, generator=rng) - 1)
    index[:, 2] = torch.linspace(-8, 8, SLICES)[:, None]
    sides = torch.tensor([1.0, -1.0]).repeat(SLICES // 2)
    brighter = tilt * sides[:, None] * index[:, 0] / RADIUS
    values = 2 * f * (1 + brighter) + 0.02 * torch.randn(SLICES, MANY, generator=rng)
    ones, rows = torch.ones(SLICES, MANY), torch.zeros(SLICES, dtype=torch.long)
    points = Points(
        torch.tensor([0]),
        rows,
        torch.arange(SLICES),
        index,
        torch.zeros(SLICES, 3, dtype=torch.float64),
        values,
        ones,
        ones,
    )
    return SliceIntensity(
        points, f, ones, torch.full((3,), RADIUS), torch.tensor([believed])
    ), 2 * f * brighter


def test_a_gain_that_changes_across_a_slice_is_taken_up():
    found, brighter = compared(0.1)
    assert float(brighter.std()) > 0.1
    assert float(found.residual.std()) < 0.3 * float(brighter.std())  # 1 by one gain a slice
    assert float((found.gains - 1).abs().max()) < 0.05


def test_it_is_not_where_a_frame_s_pose_is_not_known():
    """There brightness is most of what tells where the head is."""
    found, brighter = compared(0.1, believed=False)
    assert float(found.residual.std()) > 0.9 * float(brighter.std())


def test_slices_that_are_even_stay_so():
    found, _ = compared(0.0)
    even = found.gain / found.gain.mean()
    assert float((even - 1).abs().max()) < 0.02

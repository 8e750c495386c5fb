"""Phase of a field that is known, wrapped, with noise, in the numbers of files."""

import numpy as np
import pytest

from unimo_bids.deformation.phase import circle_of, unwrapped, wrapped

SHAPE = (48, 52, 30)


def test_full_circles_are_put_back() -> None:
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    head = (x / 0.8) ** 2 + (y / 0.9) ** 2 + (z / 0.9) ** 2 < 1
    head &= ~((x / 0.15) ** 2 + ((y - 0.3) / 0.2) ** 2 + (z / 0.2) ** 2 < 1)  # air within
    apart = np.zeros_like(head)
    apart[:3, :3, :3] = True  # no neighbour tells how many circles it is away
    bump = np.exp(-(x**2 + (y - 0.8) ** 2 + (z + 0.4) ** 2) / 0.2)
    true = 6 * x - 4 * y * z + 14 * bump
    rng = np.random.default_rng(0)
    phase = wrapped(true + 0.3 * rng.standard_normal(SHAPE))
    phase[~head] = rng.uniform(-np.pi, np.pi, int((~head).sum()))
    assert float(np.ptp(true[head])) > 4 * np.pi
    found, inside = unwrapped(phase, head | apart)
    assert np.array_equal(inside, head) and not found[~head].any()
    circles = (found - true)[head] / (2 * np.pi)
    # noise of 0.05 circles; what is a circle off would be far
    assert float(np.abs(circles - np.round(np.median(circles))).max()) < 0.3
    assert abs(float(np.median(found[head]))) <= np.pi


@pytest.mark.parametrize(
    ("low", "high", "circle"),
    [
        (-np.pi, np.pi, 2 * np.pi),
        (0.0, 1.2, 2 * np.pi),
        (0, 4095, 4096),
        (-2048, 2047, 4096),
        (-3141, 3141, 2000 * np.pi),
        (-4096, 4094, 8192),
        (-100, 100, None),
        (-32768, 32767, None),
    ],
)
def test_a_full_circle_by_the_range(low, high, circle) -> None:
    assert circle_of(np.array([low, 0.5 * (low + high), high], dtype=np.float32)) == circle

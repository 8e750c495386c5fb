"""A head taken out of its surroundings."""

import numpy as np

from benchmarks.headless import without_head


def test_of_the_head_nothing_is_left_and_all_else_stays():
    """A bright ball, 30 mm wide, at the edge of a noisy volume, in fluid of 5 mm; an eye beside."""
    sizes = np.array([2.0, 2.0, 3.0])
    x, y, z = np.indices((50, 60, 30)) * sizes.reshape(3, 1, 1, 1)
    far = np.sqrt((x - 50) ** 2 + (y - 60) ** 2 + (z - 12) ** 2)
    near_eye = np.sqrt((x - 50) ** 2 + (y - 80) ** 2 + (z - 12) ** 2) < 12
    rng = np.random.default_rng(0)
    volume = (100 + rng.random(far.shape)).astype(np.float32)
    volume[(far < 20) | near_eye] = 1000
    filled = without_head(volume, far < 15, sizes, [np.array([25.0, 40.0, 4.0])])
    assert filled.max() < 200
    outside = (far > 24) & (np.sqrt((x - 50) ** 2 + (y - 80) ** 2 + (z - 12) ** 2) > 20)
    assert (filled[outside] == volume[outside]).all()
    assert filled[far < 20].std() > 0.2  # texture goes on, not a plateau

"""Contrast in a cycle of frames, and poses that seem to go with it."""

import numpy as np
import pytest
import torch

from unimo_bids.motion.contrast.cycles import contrast_cycle, without_cycle
from unimo_bids.spatial import rigid

CENTER = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)


@pytest.mark.parametrize("period", [2, 5, 12])
@pytest.mark.parametrize("seed", range(3))
def test_a_cycle_is_found_in_noise_and_drift(period, seed):
    rng = np.random.default_rng(seed)
    levels = np.resize(rng.permutation(np.linspace(-1, 1, period)), 96)
    levels += 0.2 * rng.standard_normal(96) + np.linspace(0, 3, 96)
    assert contrast_cycle(levels) == period


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["noise", "walk", "blocks of a task", "one step"])
def test_what_is_no_cycle_of_the_scanner_is_none(seed, kind):
    rng = np.random.default_rng(seed)
    levels = {
        "noise": rng.standard_normal(96),
        "walk": rng.standard_normal(96).cumsum(),
        "blocks of a task": (np.arange(96) % 40 < 20) + 0.1 * rng.standard_normal(96),
        "one step": (np.arange(96) < 10) + 0.1 * rng.standard_normal(96),
    }[kind]
    assert contrast_cycle(levels) == 0


def test_the_cycle_goes_and_the_rest_stays():
    """A drift and a jump are motion; what was taken away is no longer known."""
    t = np.arange(60)
    motion = np.zeros((60, 6))
    motion[:, 3] = 0.02 * t + (t > 40)
    seeming = motion.copy()
    seeming[:, 5] += np.resize([0.6, 0.0, -0.4, -0.2], 60)

    def poses(parameters):
        both = torch.from_numpy(parameters)
        return rigid.from_parameters(both[:, :3], both[:, 3:], CENTER.expand(60, 3))

    covariance = torch.zeros(60, 6, 6, dtype=torch.float64)
    found, wider, extent = without_cycle(poses(seeming), covariance, 4, CENTER, 50.0)
    left = rigid.displacement(found, poses(motion), CENTER[None]).squeeze()
    assert float(left.max()) < 0.15  # of the jump, a part seems to be of the cycle
    assert extent == pytest.approx(1.0, abs=0.15)
    assert float(wider[0, 5, 5].sqrt()) == pytest.approx(0.6, abs=0.1)

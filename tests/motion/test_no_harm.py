"""Series that no model of ours foresees: never worse than what is left alone, or told.

Drawn at random: each seed is another head motion, and another fault of the kind.
"""

import math

import numpy as np
import pytest
import torch

from tests.phantom import AFFINE, error_mm, head_mask, noise, random_poses, volume
from unimo_bids.motion.estimation import estimate_motion
from unimo_bids.motion.frames import empty
from unimo_bids.qc.framewise import framewise_displacement

COUNT = 16
# on the worst of the head's six ends: 1 % noise in a frame and in the reference (`test_series`)
FINE_MM = 0.15
SEEDS = pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]
)
MASK = head_mask().numpy() > 0.5


def drawn(seed, shift=1.5, gains=None):
    """Frames ``(T, X, Y, Z)`` of a head that moves by `shift` mm and as many degrees, and poses."""
    poses = random_poses(COUNT, shift, shift, seed)
    poses[0] = torch.eye(4)
    gains = gains if gains is not None else [(1.0, 1.0, 1.0)] * COUNT
    frames = torch.stack([volume(p, gains=g) for p, g in zip(poses, gains, strict=True)])
    return frames + noise(frames.shape, 0.7, seed) + 5, poses


def measured(frames):
    series = np.ascontiguousarray(frames.permute(1, 2, 3, 0).numpy())
    return estimate_motion(series, AFFINE.numpy(), mask=MASK, reference=0)


class Sagittal(np.ndarray):
    """A series that was acquired in slices along its first axis."""

    slice_axis = 0


def measured_sagittal(frames):
    """The same on a grid whose first axis is the third here."""
    series = np.ascontiguousarray(frames.permute(3, 1, 2, 0).numpy()).view(Sagittal)
    mask, affine = MASK.transpose(2, 0, 1), AFFINE.numpy()[:, [2, 0, 1, 3]]
    return estimate_motion(series, affine, mask=mask, reference=0)


def off(found, poses):
    return error_mm(torch.from_numpy(found.poses), poses).numpy()


@SEEDS
def test_planes_of_zeros_at_the_border(seed):
    """As after any other program's resampling, in every frame elsewhere."""
    rng = np.random.default_rng(seed)
    frames, poses = drawn(seed)
    for frame in frames:
        frame[:, :, -int(rng.integers(4, 7)) :] = 0
        frame[:, : int(rng.integers(1, 5))] = 0
    found = measured(frames)
    assert found.mode == "plain"
    assert off(found, poses).max() < FINE_MM


@SEEDS
def test_first_frames_of_another_kind(seed):
    """Ten times brighter, of another contrast, before labels and controls."""
    rng = np.random.default_rng(seed)
    first = tuple(rng.uniform(0.5, 1.5, 3))
    frames, poses = drawn(seed, gains=[first] * 3 + [(1.0, 1.0, 1.0)] * (COUNT - 3))
    frames[:3] *= 10
    found = measured(frames)
    relative = off(found, poses)
    # frame 0 is of the other kind: all later poses share what ties the two kinds
    undone = error_mm(torch.eye(4, dtype=torch.float64).expand(COUNT, 4, 4), poses)
    assert relative.max() < float(undone.max()) / 2
    steps = torch.from_numpy(found.poses[3:]) @ torch.linalg.inv(torch.from_numpy(found.poses[3]))
    assert (
        float(error_mm(steps, poses[3:] @ torch.linalg.inv(poses[3])).max())
        < math.sqrt(2) * FINE_MM
    )  # two frames' errors


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1))  # half a minute each
def test_slices_that_are_darkened_at_random(seed):
    """As by spin history: a stripe looks like structure, and draws the head along its axis."""
    rng = np.random.default_rng(seed)
    frames, poses = drawn(seed)
    gains = torch.from_numpy(rng.uniform(0.6, 1.1, (COUNT, 1, 1, frames.shape[3]))).float()
    found = measured(frames * gains)
    assert found.mode == "plain"
    assert off(found, poses).max() < 0.5  # 2 mm and more where nothing is done about it


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1))  # a quarter of a minute each
def test_a_cycle_of_contrast_in_a_head_at_rest(seed):
    rng = np.random.default_rng(seed)
    kinds = [tuple(one) for one in rng.uniform(0.4, 1.6, (4, 3))]
    gains = [kinds[t % 4] for t in range(COUNT)]
    frames, _ = drawn(seed, shift=0.0, gains=gains)
    found = measured(frames)
    fd = framewise_displacement(found.poses, found.center)[1:]
    assert fd.mean() < FINE_MM


@SEEDS
def test_an_inverted_frame(seed):
    frames, poses = drawn(seed)
    frames[5] = frames.amax() - frames[5]
    found = measured(frames)
    others = np.arange(COUNT) != 5
    assert off(found, poses)[others].max() < FINE_MM
    assert off(found, poses)[5] < 2 * FINE_MM or found.status[5] != "ok"


@SEEDS
def test_a_head_at_rest_stays_at_rest(seed):
    frames, poses = drawn(seed, shift=0.0)
    assert off(measured(frames), poses).max() < FINE_MM


@pytest.mark.slow
@pytest.mark.parametrize("measured", [measured, measured_sagittal])
def test_a_torn_reference_is_said_to_be_torn(measured):
    frames, _ = drawn(0)
    frames[0, :, :, 1::2] = volume(random_poses(1, 3.0, 4.0)[0])[:, :, 1::2] + 5
    found = measured(frames)
    assert "torn" in " ".join(found.findings)
    # its halves are 4 mm apart: where other frames are relative to it is known to 2 mm
    assert np.sqrt(np.trace(found.covariance[5, 3:, 3:])) > 1
    frames, _ = drawn(0)
    assert "torn" not in " ".join(measured(frames).findings)


def test_what_is_dark_by_chance_was_seen():
    """And planes of nothing were not; in a frame that was masked, only those at the border."""
    frames = torch.ones(3, 12, 14, 10)
    frames[0].flatten()[::7] = 0
    frames[1, :, :, 8:] = 0
    frames[2, :, :9] = 0
    frames[2, 3:9, 3:9, 2:9] = 1
    found = empty(frames)
    assert not found[0].any()
    assert found[1, :, :, 8:].all() and not found[1, :, :, :8].any()
    assert found[2, :, :3].all() and not found[2, :, 3:].any()

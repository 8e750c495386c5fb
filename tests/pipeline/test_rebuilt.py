"""Frames made from slices at known poses, in a coil's field that stays in the scanner."""

import numpy as np
import pytest
import torch

from tests.phantom import AFFINE, GRID, RADIUS, SHAPE, head_mask, noise, random_poses, volume
from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.pipeline.rebuilt import Rebuilt, SliceResult
from unimo_bids.spatial.grid import world_points

FRAMES = 12
INSIDE = head_mask().numpy() > 0.5


def made(field: np.ndarray | float, *, receive: bool, moved: float) -> tuple[np.ndarray, Rebuilt]:
    """Frames ``(T, X, Y, Z)`` without the motion of a head that is as far off as said."""
    poses = random_poses(FRAMES, moved, moved, seed=5)
    images = torch.stack([volume(pose) for pose in poses]) + noise((FRAMES, *SHAPE), 1.0, 2) + 5
    series = images.permute(1, 2, 3, 0).numpy() * np.reshape(field, (*np.shape(field), 1))
    at = np.repeat(poses.numpy()[:, None], SHAPE[2], axis=1)
    nothing, none = np.zeros(FRAMES), np.zeros(FRAMES, dtype=bool)
    times, gains = np.arange(SHAPE[2]) / SHAPE[2], np.ones((FRAMES, SHAPE[2]))
    slices = SliceResult(2, times, at, gains, nothing, nothing, none, none, receive=receive)
    motion = MotionEstimate(
        poses=poses.numpy(),
        covariance=np.zeros((FRAMES, 6, 6)),
        similarity=np.ones(FRAMES),
        status=np.full(FRAMES, "ok"),
        template=images[0].numpy(),
        mask=head_mask().float().numpy(),
        reference=0,
        center=np.zeros(3),
        radius=RADIUS,
    )
    frames = Rebuilt(series.astype(np.float32), GRID, slices, motion)
    return np.stack(list(frames)), frames


def spread(frames: np.ndarray) -> float:
    """Of the head's places over frames, relative, the median place."""
    shown = frames[:, INSIDE]
    shown = shown[:, (shown > 0).all(axis=0)]
    shown = shown / np.median(shown, axis=1, keepdims=True)
    return float(np.median(shown.std(axis=0) / shown.mean(axis=0)))


def test_its_change_is_removed():
    coil = np.array([70.0, 40.0, 20.0])  # its gain falls with the square of the distance
    away = np.square(world_points(SHAPE, AFFINE).numpy() - coil).sum(axis=1)
    field = (6000 / away).reshape(SHAPE)
    left, frames = made(field, receive=True, moved=5.0)
    assert frames.about_brightness()["ReceiveField"]["Removed"]
    # .0100 of .0278; without a field .0096
    least, most = (spread(made(one, receive=False, moved=5.0)[0]) for one in (1.0, field))
    assert spread(left) < least + 0.1 * (most - least)


@pytest.mark.parametrize("moved", [0.0, 3.0])
def test_where_there_is_none_nothing_changes(moved):
    left, frames = made(1.0, receive=True, moved=moved)
    assert not frames.about_brightness()["ReceiveField"]["Removed"]
    np.testing.assert_array_equal(left, made(1.0, receive=False, moved=moved)[0])


def test_without_intensity_correction_nothing_is_looked_at():
    _, frames = made(1.0, receive=False, moved=3.0)
    assert frames.about_brightness() == {}

"""The brain in a series whose reference does not show it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Header

from tests.brain.bright import AFFINE, Blind, volume_of
from unimo_bids.brain import run as brain_run
from unimo_bids.brain.extraction import NOTHING
from unimo_bids.brain.mask import RIM, SURE
from unimo_bids.brain.run import find_series_brain
from unimo_bids.files.series import Series

HEAD = ((150.0, 120.0, 90.0), 34.0)
OTHER = ((40.0, 40.0, 90.0), 34.0)


def _series(volumes: Sequence[np.ndarray]) -> Series:
    data = np.stack(volumes, axis=-1)
    return Series(data, AFFINE, Nifti1Header(), 2.0, (), Path("bold.nii"))


def _noise(seed: int = 0) -> np.ndarray:
    """Nothing that is bright over a brain's size."""
    noise = np.random.default_rng(seed).normal(0, 1, (100, 90, 40))
    return np.abs(noise).astype(np.float32)


@pytest.fixture
def frames() -> list[np.ndarray]:
    """The head, a little to and fro."""
    (x, y, z), radius = HEAD
    return [volume_of(((x + 3 * (t % 3), y, z), radius)).numpy() for t in range(9)]


def _center(mask: np.ndarray) -> np.ndarray:
    return np.argwhere(mask).mean(axis=0) * np.diag(AFFINE)[:3]


@pytest.mark.parametrize("scale", [1.0, 1e-3], ids=["noise", "dark"])
def test_a_destroyed_reference_does_not_lose_the_brain(bright, frames, scale):
    frames[4] = scale * _noise()
    found = find_series_brain(_series(frames), 4)
    assert found.brain.usable and found.population == "fetal"
    assert np.abs(_center(found.brain.mask) - HEAD[0]).max() < 8  # 6 mm of motion, 2 of voxels
    assert found.frame_masks is not None and found.frame_masks.any(axis=(0, 1, 2)).all()
    assert any("its mask is that of frame" in one for one in found.warnings)
    assert "The brain was not found in 1 frame (4)." in found.warnings


def test_registration_looks_at_what_is_surely_brain(bright, frames):
    found = find_series_brain(_series(frames), 4)
    assert found.frame_masks is not None and found.motion_mask is not None
    assert (found.frame_masks[..., 4] == RIM).any()
    np.testing.assert_array_equal(found.brain.mask, found.frame_masks[..., 4] > 0)
    np.testing.assert_array_equal(found.motion_mask, found.frame_masks == SURE)
    np.testing.assert_array_equal(found.motion_mask[..., 4], found.brain.probability > 0.5)


def test_noise_in_all_frames_is_no_brain(bright):
    for part in ("find", "segment"):
        bright.add_module(part, Blind())
    found = find_series_brain(_series([_noise(t) for t in range(9)]), 4)
    assert found.brain.doubts == (NOTHING,)
    assert not found.brain.usable and found.frame_masks is None


def test_a_hint_asks_no_other_frame(bright, frames, monkeypatch):
    asked = []

    def spied(volume: np.ndarray, *given: object, **more: object) -> object:
        asked.append(more["center"])
        return extract(volume, *given, **more)

    extract = brain_run.extract_brain
    monkeypatch.setattr(brain_run, "extract_brain", spied)
    both = [np.maximum(frame, volume_of(OTHER).numpy()) for frame in frames]
    found = find_series_brain(_series(both), 4, place=",".join(map(str, OTHER[0])))
    np.testing.assert_allclose(asked, [OTHER[0]], atol=1e-6)
    assert np.abs(_center(found.brain.mask) - OTHER[0]).max() < 2


def test_a_reference_scanned_apart_is_looked_at_first(bright, frames):
    found = find_series_brain(_series([_noise(t) for t in range(9)]), 0, frames[0])
    assert found.brain.usable and not found.brain.doubts

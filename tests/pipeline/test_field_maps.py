"""Phases of two echoes, as scanners write them, against the field in Hz they were made from."""

import nibabel as nib
import numpy as np
import pytest

from tests import phantom
from unimo_bids.errors import InputError
from unimo_bids.pipeline.field_maps import read_field_map
from unimo_bids.pipeline.measured_field import MeasuredField

SHAPE, SIZES = (24, 26, 20), (4.0, 4.0, -4.0)
AFFINE = phantom.grid_affine(SIZES, (0.1, 0.0, 0.2), SHAPE)
BETWEEN = 0.00246  # s


def save(path, values, slope=1.0, intercept=0.0):
    stored = np.round((values - intercept) / slope).astype(np.int16)
    image = nib.Nifti1Image(stored, AFFINE.numpy())
    image.header.set_slope_inter(slope, intercept)
    nib.save(image, path)
    return path


@pytest.fixture
def scan(tmp_path):
    """Hz in the head, and how its phase at a time, s, is written with a circle of 2048 steps."""
    head = phantom.head_mask(AFFINE, SHAPE).numpy() > 0
    points = phantom.world_points(SHAPE, AFFINE).reshape(*SHAPE, 3).numpy()
    hz = 40 + 6 * points[..., 1] + 90 * np.exp(-((points - 15) ** 2).sum(axis=-1) / 800)
    rng = np.random.default_rng(1)

    def angle(seconds: float) -> np.ndarray:
        noise = rng.uniform(-np.pi, np.pi, SHAPE)
        return np.angle(np.exp(1j * np.where(head, 2 * np.pi * hz * seconds, noise)))

    magnitude = save(tmp_path / "magnitude1.nii.gz", np.where(head, 900, 20))
    return head, hz, angle, magnitude


def apart(found, head, hz):
    """How far Hz are from the true ones; what all have in common is no distortion."""
    assert np.array_equal(found.weights.numpy() > 0, head)
    error = (found.hz.numpy() - hz)[head]
    return np.abs(error - np.median(error)).max()


@pytest.mark.parametrize("circle", [4096, 8192])
def test_a_difference_in_steps(tmp_path, scan, circle):
    head, hz, angle, magnitude = scan
    scaled = angle(BETWEEN) / (2 * np.pi) * circle
    slope, intercept, shift = (1.0, 0.0, 2048) if circle == 4096 else (2.0, -4096.0, 0)
    path = save(tmp_path / "phasediff.nii.gz", (scaled + shift).clip(max=4095), slope, intercept)
    found = read_field_map(MeasuredField("phase", (path,), magnitude, BETWEEN, 0.03))
    assert found.said == f"the field map (phase, {circle} a full circle)"
    assert apart(found, head, hz) < 0.5  # Hz; a step is 0.1


def test_two_phases(tmp_path, scan):
    head, hz, angle, magnitude = scan
    paths = []
    for echo, seconds in ((1, 0.00492), (2, 0.00492 + BETWEEN)):
        values = 4096 * angle(seconds) / np.pi
        paths.append(save(tmp_path / f"phase{echo}.nii.gz", values.clip(max=4094), 2.0, -4096.0))
    found = read_field_map(MeasuredField("phase", tuple(paths), magnitude, BETWEEN, 0.03))
    assert apart(found, head, hz) < 0.5


def test_what_is_no_phase_is_refused(tmp_path, scan):
    *_, magnitude = scan
    path = save(tmp_path / "phasediff.nii.gz", np.random.default_rng(0).uniform(-200, 200, SHAPE))
    with pytest.raises(InputError, match="phase from -200 to 200: a full circle"):
        read_field_map(MeasuredField("phase", (path,), magnitude, BETWEEN, 0.03))

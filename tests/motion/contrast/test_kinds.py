"""Frames of two kinds that brightness tells apart."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from tests.phantom import AFFINE, SHAPE, error_mm, head_mask, random_poses, volume
from unimo_bids.motion.contrast.kinds import kinds_of
from unimo_bids.motion.estimation import estimate_motion
from unimo_bids.motion.scan import read_scan

BRIGHT = (0, 6, 11)  # of 14, as b = 0


def moved(image, pose, order=3):
    """An image whose head is at a pose, by SciPy."""
    affine = AFFINE.numpy()
    back = np.linalg.inv(affine) @ np.linalg.inv(pose) @ affine
    return ndimage.affine_transform(image, back[:3, :3], back[:3, 3], order=order)


@pytest.mark.parametrize("reference", [0, 3])
def test_each_kind_is_registered_by_its_own_and_tied(reference):
    """Where three tissues are bright, and of another order of brightness in dark frames."""
    rng = np.random.default_rng(0)
    poses = random_poses(14, degrees=3, shift=2).numpy()
    head = head_mask().numpy() > 0.5
    texture = ndimage.gaussian_filter(rng.normal(size=SHAPE), 1.5)
    tissue = 1 + np.digitize(texture, np.quantile(texture, (0.4, 0.75)))
    bright, dark = (
        ndimage.gaussian_filter(np.where(head, np.take(values, tissue), 0.0), 0.6)
        for values in ((0, 50, 80, 100), (0, 25, 35, 8))
    )
    frames = [moved(bright if t in BRIGHT else dark, p) for t, p in enumerate(poses)]
    series = np.stack(frames, axis=-1) + rng.normal(size=(*SHAPE, 14)) + 5
    mask = moved(head.astype(float), poses[reference], order=1) > 0.5
    found = estimate_motion(series, AFFINE.numpy(), mask=mask, reference=reference)
    assert any("two kinds" in one for one in found.findings)
    assert np.isin(found.status, ("ok", "searched")).all()
    truth = torch.from_numpy(poses @ np.linalg.inv(poses[reference]))
    assert error_mm(torch.from_numpy(found.poses), truth).max() < 0.4


def kinds(brightness):
    frames = torch.stack([volume(torch.eye(4).double()) * one for one in brightness])
    series = np.ascontiguousarray(frames.permute(1, 2, 3, 0).numpy())
    return kinds_of(read_scan(series, AFFINE.numpy(), head_mask().numpy() > 0.5, 0))


def test_brightness_tells_two_kinds_and_how_they_differ():
    found = kinds([2.0, 1.0, 1.1, 2.1, 0.95])
    assert found.own.tolist() == [True, False, False, True, False]
    assert found.brighter == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("brightness", [[1, 1.2, 1.05, 1.0], [1, 1.5, 2.2, 3.2]])
def test_brightness_that_drifts_or_hardly_differs_makes_no_kinds(brightness):
    assert kinds(brightness) is None

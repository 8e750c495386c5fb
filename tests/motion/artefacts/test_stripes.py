"""Slices that are dim in every frame, others in each: they must not draw poses."""

import numpy as np
import pytest
import torch

from tests.phantom import AFFINE, SHAPE, error_mm, head_mask, noise, random_poses, volume
from unimo_bids.motion import trackers
from unimo_bids.motion.artefacts.stripes import at_first_sight
from unimo_bids.motion.estimation import estimate_motion
from unimo_bids.motion.scan import read_scan
from unimo_bids.motion.settings import MotionSettings
from unimo_bids.motion.tracking import follow_images

COUNT = 12


def _series(share):
    """A moving head of which a share of the slices is dim; its poses, and the gains ``(T, S)``."""
    poses = random_poses(COUNT, 4.0, 6.0, seed=3)
    poses[0] = torch.eye(4)
    rng = np.random.default_rng(4)
    dim = rng.random((COUNT, 1, 1, SHAPE[2])) < share
    gains = np.where(dim, rng.uniform(0.05, 0.7, dim.shape), 1.0)
    frames = torch.stack([volume(pose) for pose in poses]) * torch.from_numpy(gains).float()
    series = (frames + noise(frames.shape, 1.0, 5)).permute(1, 2, 3, 0).numpy()
    return np.ascontiguousarray(series), poses, gains[:, 0, 0]


@pytest.mark.parametrize("share", [0.4, 0.0])
def test_gains_at_first_sight(share):
    series, _, gains = _series(share)
    scan = read_scan(series, AFFINE.numpy(), head_mask().numpy() > 0.5, 0)
    seen = at_first_sight(scan)
    if share == 0:  # motion alone is no stripe
        assert seen is None
        return
    rows = list(range(COUNT))
    place = SHAPE[0] // 2, SHAPE[1] // 2
    found = (scan.frames(rows) / seen.frames(rows))[:, *place].numpy()
    within = slice(8, -8)  # the head's slices, whatever the pose
    # .95: motion is in them, too
    assert np.corrcoef(found[:, within].ravel(), gains[:, within].ravel())[0, 1] > 0.9


def test_two_of_five_slices_all_but_gone():
    series, poses, _ = _series(0.4)
    found = estimate_motion(
        series,
        AFFINE.numpy(),
        mask=head_mask().numpy() > 0.5,
        reference=0,
        settings=MotionSettings(network=False),
    )
    error = error_mm(torch.from_numpy(found.poses), poses).numpy()
    assert any("brightness of slices" in one for one in found.findings)
    assert np.isin(found.status, ("ok", "searched")).sum() >= COUNT - 2
    assert np.median(error) < 0.3, error
    assert (error < 1.0)[np.isin(found.status, ("ok", "searched"))].all(), error


def test_tracking_sees_frames_without_stripes_where_they_are_then_explained_better():
    series, *_ = _series(0.4)
    mask, settings = head_mask().numpy() > 0.5, MotionSettings(network=False, search=False)
    scan = read_scan(series, AFFINE.numpy(), mask, 0, settings=settings)
    with torch.inference_mode():
        seen, track = trackers._by_image(scan)
        as_it_is = follow_images(scan, scan.reference_image[None])
    assert seen is not scan
    assert np.nanmedian(track.similarity) > np.nanmedian(as_it_is.similarity)

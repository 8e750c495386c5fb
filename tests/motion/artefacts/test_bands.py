"""Slices that are darker or brighter than the others, in all frames alike."""

import numpy as np
import torch

from tests.phantom import AFFINE, SHAPE, error_mm, noise, random_poses, volume
from unimo_bids.motion.artefacts.bands import gains, mended, roughness, unbanded
from unimo_bids.motion.refinement import refine_to_template
from unimo_bids.motion.scan import read_scan
from unimo_bids.motion.settings import MotionSettings
from unimo_bids.motion.tracking import follow_images
from unimo_bids.motion.ways import Way

COUNT = 6
MIDDLE = SHAPE[2] // 2
FEW = MotionSettings(fine_points=4000, coarse_points=2000, search=False, network=False)


def _scan(poses, gain, mask):
    """A head that moves through two slices of another gain."""
    frames = torch.stack([volume(p) for p in poses]) + 5
    frames[..., MIDDLE - 1 : MIDDLE + 1] *= gain
    frames = frames + noise((COUNT, *SHAPE), 0.7, seed=5)
    series = frames.permute(1, 2, 3, 0).numpy()
    return read_scan(series, AFFINE.numpy(), mask.numpy(), 0, settings=FEW)


def _poses():
    poses = random_poses(COUNT, 6.0, 6.0, seed=3)
    poses[0] = torch.eye(4)
    return poses


def _refined(scan):
    track = follow_images(scan, scan.reference_image[None])
    _, plain, image, _ = refine_to_template(scan, track)
    return Way(plain, image, track)


def test_a_band_that_stays_with_the_scanner_does_not_hold_the_head(mask):
    poses = _poses()
    scan = _scan(poses, 0.6, mask)
    with torch.inference_mode():
        before = _refined(scan)
        banded = unbanded(scan, before)
    assert "stays with the scanner" in banded.told
    after = banded.way.refined
    drawn, left = (error_mm(one.poses, poses).max() for one in (before.refined, after))
    assert drawn > 1.0, "nothing to mend"
    assert left < 0.1 * drawn


def test_without_a_band_nothing_changes(mask):
    poses = _poses()
    scan = _scan(poses, 1.0, mask)
    with torch.inference_mode():
        assert unbanded(scan, _refined(scan)) is None


def test_gains_are_those_of_the_slices(mask):
    poses = _poses()
    across, along, found = gains(_scan(poses, 0.5, mask), poses)
    assert np.allclose(found[MIDDLE - 1 : MIDDLE + 1].exp(), 0.5, atol=0.08)
    others = np.r_[MIDDLE - 6 : MIDDLE - 2, MIDDLE + 2 : MIDDLE + 6]
    for one in (found[others], across, along):
        assert abs(one).max() < 0.1


def test_a_head_at_rest_tells_nothing_of_slices(mask):
    poses = torch.eye(4, dtype=torch.float64).repeat(COUNT, 1, 1)
    assert all((one == 0).all() for one in gains(_scan(poses, 0.5, mask), poses))


def test_motion_smaller_than_poses_are_off_tells_nothing_of_slices(mask):
    scan = _scan(torch.eye(4, dtype=torch.float64).repeat(COUNT, 1, 1), 1.0, mask)
    found = gains(scan, random_poses(COUNT, 0.02, 0.02, seed=3))
    assert max(map(roughness, found)) < 0.01, "0.02 to 0.03 if it did"


def test_slices_of_noise_are_made_of_their_neighbours():
    matrix = mended(torch.tensor([-9.0, 0.0, -2.0, -2.0, 1.0, -9.0]))
    slices = torch.tensor([7.0, 1.0, 7.0, 7.0, 4 * np.e, 7.0])
    assert torch.allclose(matrix @ slices, torch.tensor([1.0, 1.0, 2.0, 3.0, 4.0, 4.0]))


def test_the_edge_of_a_head_is_no_band():
    """In coarse voxels it is too steep to be read between: gains drew these poses by 0.4 mm."""
    of_the_edge = torch.tensor([0.0, -0.35, -0.19, -0.17, -0.0, 0.03, 0.13, 0.17, 0.29, -0.52, 0.0])
    within = torch.tensor([0.0, -0.35, -0.19, -0.17, -0.5, 0.03, 0.13, 0.17, 0.29, -0.52, 0.0])
    assert roughness(of_the_edge) < 0.07
    assert roughness(within) > 0.2

import numpy as np
import pytest
import torch

from tests import phantom
from tests.phantom import error_mm, fine_level, noise, random_poses, target_of
from unimo_bids.registration.joint import _evenly_bright, align_jointly
from unimo_bids.spatial import rigid

COUNT = 18


@pytest.fixture(scope="module")
def in_many_contrasts():
    """Frames of another contrast each, up to 12° and 8 mm from the first, with noise."""
    rng = np.random.default_rng(3)
    poses = random_poses(COUNT, 12.0, 8.0, seed=4)
    poses[0] = torch.eye(4)
    gains = rng.uniform(0.2, 1.8, (COUNT, 3))
    frames = [phantom.volume(p, gains=tuple(g)) for p, g in zip(poses, gains, strict=True)]
    return torch.stack(frames) + noise((COUNT, *phantom.SHAPE), 0.5), poses


def errors(found, poses):
    """Relative to the first frame: a motion common to all is not determined."""
    return error_mm(found @ rigid.inverse(found[0]), poses)


def started(poses, degrees, shift, seed=5):
    off = random_poses(len(poses), degrees, shift, seed=seed)
    off[0] = torch.eye(4)
    return poses @ off


@pytest.fixture(scope="module")
def nearly_aligned(in_many_contrasts):
    """As tracking leaves the frames."""
    poses = in_many_contrasts[1]
    start = started(poses, 0.8, 0.6)
    assert errors(start, poses)[1:].min() > 0.5
    return start


def test_poses_are_found_under_any_contrast(nearly_aligned, in_many_contrasts, mask):
    frames, poses = in_many_contrasts
    level = fine_level()
    target = target_of(level, frames[:1], mask)
    found = align_jointly(target, level.sampled(frames), nearly_aligned)
    assert found.kept.all()
    # three tissues: a mean, two images, and what interpolation leaves
    assert found.loadings.shape[1] in (2, 3)
    # three hundredths of a voxel at the worst of six places on the surface
    assert errors(found.poses, poses).max() < 0.1


def test_bright_frames_have_less_of_the_say(in_many_contrasts, mask):
    frames, poses = in_many_contrasts
    level = fine_level()
    target = target_of(level, frames[:1], mask)
    sampled = level.sampled(frames[:1] * torch.tensor([1.0, 4.0, 0.25])[:, None, None, None])
    even = _evenly_bright(target, sampled, poses[:1].expand(3, 4, 4))
    torch.testing.assert_close(even[1], 2 * even[0])
    torch.testing.assert_close(even[2], even[0] / 2)
    torch.testing.assert_close(even[0], sampled[0])


def test_a_frame_like_no_other_is_left_alone(nearly_aligned, in_many_contrasts, mask):
    frames, poses = in_many_contrasts
    frames = frames.clone()
    frames[5] = frames[5].flip(0, 1)
    level = fine_level()
    target = target_of(level, frames[:1], mask)
    found = align_jointly(target, level.sampled(frames), nearly_aligned)
    assert found.kept.tolist() == [t != 5 for t in range(COUNT)]
    torch.testing.assert_close(found.poses[5], nearly_aligned[5])
    assert errors(found.poses, poses)[found.kept].max() < 0.1


def test_one_contrast_needs_no_images(mask):
    poses = random_poses(8, 3.0, 2.0, seed=1)
    poses[0] = torch.eye(4)
    frames = phantom.volumes(poses) + noise((8, *phantom.SHAPE), 1.0)
    level = fine_level()
    target = target_of(level, frames[:1], mask)
    found = align_jointly(target, level.sampled(frames), started(poses, 0.2, 0.2))
    assert found.loadings.shape == (8, 0)
    assert errors(found.poses, poses).max() < 0.1

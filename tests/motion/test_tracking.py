import numpy as np
import pytest
import torch

from tests.phantom import (
    GRID,
    SHAPE,
    error_mm,
    noise,
    pose,
    random_poses,
    target_of,
    volumes,
)
from unimo_bids.motion.tracking import Targets, follow
from unimo_bids.registration.levels import make_level

# the coarse level samples linearly every 4 mm: rough poses are good to a quarter of that
ROUGH_MM = 1.0


@pytest.fixture(scope="module")
def followed(at_rest, mask):
    """Track frames against the head at rest."""
    level = make_level(GRID, blur=3.0, spacing=3.6)
    targets = Targets(
        stiff=target_of(level, at_rest[None], mask, "gain"),
        flexible=target_of(level, at_rest[None], mask, "bias"),
    )
    weights = level.image(mask).clamp(0, 1)

    def run(frames, usable=None, **options):
        usable = np.ones(len(frames), dtype=bool) if usable is None else usable
        images, reference = level.image(frames), level.image(at_rest)
        return follow(targets, images, reference, weights, usable, **options)

    return run


def test_a_gentle_series_is_followed_without_search(followed):
    poses = random_poses(8, degrees=6, shift=3)
    found = followed(volumes(poses) + noise((8, *SHAPE), 2.0))
    assert float(error_mm(found.poses, poses).max()) < ROUGH_MM
    assert not found.searched.any()
    assert found.similarity.min() > 0.95  # 2 % noise, blurred; a wrong pose has 0.9 and less


def test_a_spinning_head_is_followed_to_any_angle(followed):
    steps = [0, 15, 30, 50, 70, 95, 120, 150, 180, 210]
    poses = torch.stack([pose((0, 0.3 * a, a), (a / 20, 0, 0)) for a in steps])
    found = followed(volumes(poses))
    assert float(error_mm(found.poses, poses).max()) < ROUGH_MM


def test_a_head_that_jumped_is_searched(followed):
    poses = random_poses(6, degrees=4, shift=2)
    poses[3] = random_poses(1, degrees=170, shift=8, seed=2)[0]
    found = followed(volumes(poses))
    assert float(error_mm(found.poses, poses).max()) < ROUGH_MM
    assert found.searched.tolist() == [t == 3 for t in range(6)]


def test_a_guess_is_asked_before_a_search(followed):
    poses = random_poses(6, degrees=4, shift=2)
    poses[3] = random_poses(1, degrees=170, shift=8, seed=2)[0]
    asked = []

    def guess(frames):
        asked.extend(frames.tolist())
        return poses[frames] @ pose((5, 0, 3), (1, 0, 1))

    found = followed(volumes(poses), guess=guess)
    assert asked == [3]
    assert float(error_mm(found.poses, poses).max()) < ROUGH_MM
    assert not found.searched.any()


def test_a_wrong_guess_does_no_harm(followed):
    poses = random_poses(6, degrees=4, shift=2)
    poses[3] = random_poses(1, degrees=170, shift=8, seed=2)[0]
    found = followed(volumes(poses), guess=lambda frames: poses[[0] * len(frames)])
    assert float(error_mm(found.poses, poses).max()) < ROUGH_MM
    assert found.searched.tolist() == [t == 3 for t in range(6)]


def test_what_is_no_head_is_not_believed(followed):
    poses = random_poses(5, degrees=5, shift=2)
    frames = volumes(poses)
    frames[1] = noise(SHAPE, 50.0).abs()
    found = followed(frames)
    others = np.arange(5) != 1
    assert found.similarity[1] < 0.6
    assert found.similarity[others].min() > 0.95
    assert float(error_mm(found.poses, poses)[others].max()) < ROUGH_MM

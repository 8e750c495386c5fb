import numpy as np
import pytest
import torch

from tests.phantom import GRID, SHAPE, noise, pose, random_poses, rest, volumes
from unimo_bids.motion.template import _sorted, align, choose_frames, choose_reference, robust_mean

everything = np.ones(40, dtype=bool)
WHOLE = tuple(slice(0, n) for n in SHAPE)


@pytest.fixture(scope="module")
def small():
    """40 small images: the usual pose, still in 20 … 27; an unusual one, still in 4 … 9."""
    generator = torch.Generator().manual_seed(0)
    usual, unusual = torch.randn(2, 500, generator=generator)
    images = usual + 0.3 * torch.randn(40, 500, generator=generator)
    images[20:28] = usual + 0.01 * torch.randn(8, 500, generator=generator)
    images[4:10] = unusual + 0.01 * torch.randn(6, 500, generator=generator)
    return images


def test_the_reference_is_still_and_like_most_others(small):
    assert 22 <= choose_reference(small, everything) <= 25


def test_the_reference_is_usable(small):
    usable = everything.copy()
    usable[:3] = usable[11:] = False  # only the unusual stretch is still now
    assert 4 <= choose_reference(small, usable) <= 9
    only = np.zeros(40, dtype=bool)
    only[33] = True
    assert choose_reference(small, only) == 33


def test_template_frames_are_good_alike_near_and_spread():
    similarity, displacement = np.full(40, 0.9), np.full(40, 5.0)
    similarity[::2], displacement[::2] = 0.99, 1.0
    good = everything.copy()
    good[4] = False
    chosen = choose_frames(7, similarity, displacement, good, wanted=6)
    assert chosen[0] == 7
    assert len(set(chosen)) == len(chosen) == 7
    assert all(t % 2 == 0 and good[t] for t in chosen[1:])
    assert min(chosen[1:]) <= 4
    assert max(chosen[1:]) >= 34


def test_align_undoes_motion_gain_and_offset(at_rest, mask):
    poses = torch.cat([rest(1), random_poses(3, degrees=8, shift=4)])
    gain = torch.tensor([1.0, 0.5, 2.0, 1.0]).reshape(4, 1, 1, 1)
    aligned = align(gain * volumes(poses) + 30 * (gain - 1), poses, GRID, mask, WHOLE)
    # a cubic's weights in float32, of 140
    torch.testing.assert_close(aligned[0], at_rest, rtol=0, atol=1e-3)
    inside = mask > 0
    # cubic interpolation of edges of 3.6 mm between samples of 3 mm: 1 % of the contrast at worst
    torch.testing.assert_close(aligned[1:, inside], at_rest[inside].expand(3, -1), rtol=0, atol=1.5)


def test_align_marks_what_a_frame_did_not_see(mask):
    poses = torch.stack([torch.eye(4).double(), pose((0, 0, 0), (0, 0, 9.0))])
    aligned = align(volumes(poses), poses, GRID, mask, WHOLE)
    unseen = torch.isnan(aligned[1])
    expected = torch.zeros(SHAPE, dtype=torch.bool)
    expected[..., -3:] = True  # three slices moved out above
    assert torch.equal(unseen, expected)


def test_a_first_frame_without_a_part_does_not_spoil_the_others(at_rest, mask):
    poses = torch.stack([torch.eye(4).double(), pose((2, 0, 0), (1, 0, 0))])
    lost = torch.zeros(2, *SHAPE)
    lost[0, :, : SHAPE[1] // 3] = 1
    aligned = align(volumes(poses), poses, GRID, mask, WHOLE, lost)
    inside = mask > 0.5
    assert torch.isnan(aligned[0][inside]).any()
    torch.testing.assert_close(aligned[1, inside], at_rest[inside], rtol=0, atol=1.5)


@pytest.mark.parametrize("odd", [1e4, -1e4, torch.nan])
def test_the_robust_mean_ignores_a_torn_frame(odd):
    frames = 100 + noise((8, *SHAPE), 1.0)
    torn = frames.clone()
    torn[3, ..., ::2] = odd
    # the middle half of 8 is 4: replacing one shifts their mean by at most a rank, some σ / 4
    assert float((robust_mean(torn) - robust_mean(frames)).abs().max()) < 1.0
    # and the mean of 4 in the middle is nearly as good as of 8: 1 / √8 = 0.35, efficiency 0.84
    assert float((robust_mean(frames) - 100).std()) == pytest.approx(0.39, abs=0.02)


def test_a_place_few_frames_saw_keeps_the_first(at_rest):
    frames = at_rest + noise((6, *SHAPE), 1.0)
    frames[2:, :5] = torch.nan
    mean = robust_mean(frames)
    assert torch.equal(mean[:5], frames[0, :5])
    assert bool(torch.isfinite(mean).all())


def test_a_part_is_aligned_as_the_whole_is(mask):
    poses = random_poses(3, 4.0, 3.0)
    frames = volumes(poses)
    part = (slice(5, 30), slice(0, 33), slice(2, 30))
    whole = align(frames, poses, GRID, mask, WHOLE)
    found = align(frames, poses, GRID, mask[part], part)
    # brightness is measured in the part
    torch.testing.assert_close(found[0], whole[0][part], rtol=0, atol=1e-4, equal_nan=True)
    assert float((found - whole[:, *part]).nanmean().abs()) < 0.5


@pytest.mark.parametrize("count", [*range(1, 12), 25, 32])
def test_images_are_sorted_at_every_voxel(count):
    images = torch.randn(count, 4, 5, generator=torch.Generator().manual_seed(count))
    images[count // 2, 0] = torch.inf
    assert torch.equal(_sorted(images), images.sort(dim=0).values)

import pytest
import torch

from tests.phantom import AFFINE, SHAPE, noise
from unimo_bids.motion.template import robust_mean
from unimo_bids.registration.contrast import common_images, contrast_changes, tissue_images
from unimo_bids.spatial.grid import world_points


@pytest.fixture(scope="module")
def in_contrast(at_rest):
    """Aligned noisy frames with shares of another contrast."""

    def make(shares):
        shares = torch.tensor(shares)[:, None, None, None]
        frames = (1 - shares) * at_rest + shares * at_rest**2 / 100
        return frames + noise(tuple(frames.shape), 1.0)

    return make


def fields_of(mean):
    x, y, z = (world_points(SHAPE, AFFINE).T.float() / 40).reshape(3, *SHAPE)
    return [f * mean for f in (x, y, z, x * x, y * y, z * z, x * y, y * z, z * x)]


def unexplained(contrast, images, inside):
    """Share of a contrast's deviation that no combination of images explains."""
    basis = torch.stack([*images, torch.ones_like(contrast)])[:, inside].T
    left = contrast[inside] - basis @ torch.linalg.lstsq(basis, contrast[inside]).solution
    return float(left.std() / contrast[inside].std())


def test_the_common_image_makes_up_all_contrasts(in_contrast, at_rest, mask):
    shares = torch.tensor([0.0, 0.5, 1.0] * 4)
    frames = in_contrast(shares.tolist())
    mean = robust_mean(frames)
    loading = (shares - shares.mean()) / (shares - shares.mean()).norm()
    images = common_images(frames, mean, mask, loading[:, None])
    assert images.shape == (1, *SHAPE)
    for contrast in (at_rest, at_rest**2 / 100):
        # what is left is the noise that the images were made of
        assert unexplained(contrast, [mean, *images, *fields_of(mean)], mask > 0.5) < 0.05


def test_an_unseen_place_has_no_say(in_contrast, mask):
    frames = in_contrast([0.0, 0.5, 1.0] * 4)
    frames[2, :4] = torch.nan
    loading = torch.linspace(-1, 1, 12)[:, None]
    assert torch.isfinite(common_images(frames, robust_mean(frames), mask, loading)).all()


def test_any_contrast_of_the_tissues_is_a_combination_of_their_shares(mask):
    """Six tissues, told apart in one contrast, turned round at random in another."""
    generator = torch.Generator().manual_seed(0)
    tissue = torch.randint(0, 6, SHAPE, generator=generator)
    images = tissue_images(torch.tensor([100.0, 250, 400, 550, 700, 900])[tissue], mask)
    for intensities in (
        torch.tensor([900.0, 100, 700, 250, 400, 550]),
        torch.rand(6, generator=generator),
    ):
        assert unexplained(intensities[tissue], images, mask > 0.5) < 1e-3


def test_shares_of_tissues_are_shares(at_rest, mask):
    images = tissue_images(at_rest, mask)
    assert images.min() >= 0
    assert images.sum(dim=0).max() <= 1 + 1e-6
    assert torch.isfinite(
        tissue_images(torch.full(SHAPE, 3.0), mask)
    ).all()  # nothing to tell apart


def test_noise_gain_and_a_receive_field_are_no_contrast(in_contrast, mask):
    frames = in_contrast([0.0] * 12)
    x = (world_points(SHAPE, AFFINE)[:, 0] / 40).reshape(SHAPE).float()
    strength = torch.linspace(-0.2, 0.2, 12)[:, None, None, None]
    for changed in (frames, frames * (1 + strength), frames * (1 + strength * x)):
        assert not contrast_changes(changed, robust_mean(changed), mask)


@pytest.mark.filterwarnings("error")
def test_no_images_from_places_that_no_frame_shares(in_contrast, mask):
    frames = in_contrast([0.0, 0.5, 1.0] * 4)
    frames[2] = torch.nan
    loading = torch.linspace(-1, 1, 12)[:, None]
    assert common_images(frames, robust_mean(frames), mask, loading).shape == (0, *SHAPE)


@pytest.mark.parametrize(
    ("shares", "seen"),
    [([0.0, 0.5, 1.0] * 4, True), ([0.0, 1.0] * 3, False), ([0.0] * 11 + [2.0], False)],
    ids=["shared", "few frames", "one odd frame"],
)
def test_a_contrast_that_frames_share_is_seen(in_contrast, mask, shares, seen):
    frames = in_contrast(shares)
    assert contrast_changes(frames, robust_mean(frames), mask) == seen

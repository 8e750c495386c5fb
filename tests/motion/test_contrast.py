import pytest
import torch

from tests.motion.phantom import AFFINE, RADIUS, SHAPE, f64, noise, random_poses, rest
from unimo_bids.motion.contrast import contrast_images, leap, update
from unimo_bids.motion.template import robust_mean
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grids import world_points

CENTER = f64([3.0, -5.0, 8.0])


@pytest.fixture(scope="module")
def in_contrast(at_rest):
    """Aligned noisy frames with shares of another contrast."""

    def make(shares):
        shares = torch.tensor(shares)[:, None, None, None]
        frames = (1 - shares) * at_rest + shares * at_rest**2 / 100
        return frames + noise(tuple(frames.shape), 1.0)

    return make


def test_a_shared_contrast_is_one_image(in_contrast, at_rest, mask):
    frames = in_contrast([0.0, 0.5, 1.0] * 4)
    mean = robust_mean(frames)
    images = contrast_images(frames, mean, mask)
    assert len(images) == 1
    # with the mean, a constant and what a receive field does to the mean, it makes up both
    # contrasts but for the noise it was made of
    inside = mask > 0.5
    x, y, z = (world_points(SHAPE, AFFINE).T.float() / 40).reshape(3, *SHAPE)
    fields = [f * mean for f in (x, y, z, x * x, y * y, z * z, x * y, y * z, z * x)]
    basis = torch.stack([mean, images[0], torch.ones_like(mean), *fields])[:, inside].T
    for contrast in (at_rest, at_rest**2 / 100):
        left = contrast[inside] - basis @ torch.linalg.lstsq(basis, contrast[inside]).solution
        assert float(left.std()) < 0.05 * float(contrast[inside].std())


def test_noise_gain_and_a_receive_field_are_no_contrast(in_contrast, mask):
    frames = in_contrast([0.0] * 12)
    x = (world_points(SHAPE, AFFINE)[:, 0] / 40).reshape(SHAPE).float()
    strength = torch.linspace(-0.2, 0.2, 12)[:, None, None, None]
    for changed in (frames, frames * (1 + strength), frames * (1 + strength * x)):
        assert len(contrast_images(changed, robust_mean(changed), mask)) == 0


def test_one_odd_frame_is_no_contrast(in_contrast, mask):
    frames = in_contrast([0.0] * 5 + [2.0])
    assert len(contrast_images(frames, robust_mean(frames), mask)) == 0
    assert len(contrast_images(frames, robust_mean(frames), mask, shared_by=1)) == 1


def test_few_frames_have_no_contrast(in_contrast, mask):
    frames = in_contrast([0.0, 1.0, 0.0, 1.0, 0.0])
    assert len(contrast_images(frames, robust_mean(frames), mask)) == 0


def test_an_update_is_six_numbers_in_mm_at_the_surface():
    turn, shift = f64([[0.01, -0.02, 0.03]]), f64([[0.2, 0.1, -0.3]])
    before = random_poses(1, 30, 8)
    after = before @ rigid.from_parameters(turn, shift, CENTER[None])
    expected = torch.cat([turn * RADIUS, shift], dim=1)
    # roundings of products at some 10 mm
    torch.testing.assert_close(update(before, after, CENTER, RADIUS), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.8])
def test_a_leap_ends_where_the_geometric_series_does(ratio):
    turn, shift = f64([[0.004, -0.002, 0.003]]), f64([[0.2, 0.1, -0.3]])

    def along(way):
        return rigid.from_parameters(way * turn, way * shift, CENTER[None])

    before, after = along(1.0), along(1 + ratio)
    last = update(rest(1), before, CENTER, RADIUS)
    found = leap(before, after, last, CENTER, RADIUS)
    # small turns add up but for their products: 0.005 rad × the 0.4 mm that the centre moved
    expected = along(1 / (1 - ratio))
    assert float(rigid.displacement(found, expected, CENTER[None])) < 0.01
    # and their ratio errs by half their square, 1.5e-5, which the sum takes 25-fold, of 0.31°
    assert float(rigid.rotation_angle(found, expected)) < 25 * 1.5e-5 * 0.31


@pytest.mark.parametrize(("ratio", "most"), [(-0.5, -0.5), (1.5, 15.0)])
def test_a_leap_never_goes_back_nor_far(ratio, most):
    """Updates that swing or grow are no geometric series that ends."""
    shift, turn = f64([[1.0, 0.0, 0.0]]), torch.zeros(1, 3).double()
    before = rest(1)
    after = rigid.from_parameters(turn, ratio * shift)
    found = leap(before, after, torch.cat([turn, shift], dim=1), CENTER, RADIUS)
    # at most 1 / (1 - 0.9) of the last step
    assert float(found[0, 0, 3]) == pytest.approx(most, abs=1e-12)

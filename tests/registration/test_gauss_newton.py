from types import SimpleNamespace

import pytest
import torch

from tests.phantom import (
    AFFINE,
    GRID,
    RADIUS,
    SHAPE,
    error_mm,
    f64,
    fine_level,
    frames_at,
    grid_affine,
    head_mask,
    noise,
    pose,
    random_poses,
    rest,
    target_of,
    volume,
    volumes,
)
from unimo_bids.registration.gauss_newton import Registration, register
from unimo_bids.registration.levels import (
    gradient_magnitude,
    make_level,
)
from unimo_bids.registration.target import make_target
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import world_points

# Without noise, what is left is aliasing of 3.6 mm edges by 3 mm voxels and the last step
# (tolerance 0.005 mm, and Gauss-Newton's next one is ten times smaller)
NOISELESS_MM = 0.01

DEVICES = pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
        ),
    ],
)


@pytest.fixture(scope="module")
def level():
    return fine_level()


@pytest.fixture(scope="module")
def target(level, at_rest, mask):
    return target_of(level, at_rest[None], mask)


@pytest.fixture(scope="module")
def moved():
    """Six frames and their poses."""
    poses = random_poses(6, degrees=8, shift=4)
    return SimpleNamespace(frames=volumes(poses), poses=poses)


@DEVICES
@pytest.mark.parametrize("model", ["gain", "bias"])
def test_known_poses_come_back(device, model, at_rest, mask, moved):
    level = fine_level(device=device)
    target = target_of(level, at_rest[None], mask, model)
    found = register(target, frames_at(level, moved.frames), rest(6, device))
    assert found.poses.device.type == device
    assert found.poses.dtype == torch.float64
    assert float(error_mm(found.poses.cpu(), moved.poses).max()) < NOISELESS_MM
    # the frames differ from the model by that hundredth of a millimetre only
    assert float(found.similarity.min()) > 0.9999
    assert float(found.in_view.min()) > 0.99


@pytest.mark.parametrize("degrees", [0, 40])
def test_known_poses_come_back_from_far(level, target, degrees):
    poses = random_poses(3, degrees, 5, seed=degrees)
    found = register(target, frames_at(level, volumes(poses)), rest(3))
    assert float(error_mm(found.poses, poses).max()) < NOISELESS_MM


@pytest.mark.parametrize(("gain", "offset"), [(0.02, 0.0), (-1.0, 50.0)])
def test_gain_and_offset_change_nothing(level, target, moved, gain, offset):
    plain = register(target, frames_at(level, moved.frames), rest(6))
    found = register(target, frames_at(level, gain * moved.frames + offset), rest(6))
    # float32 of the intensities, 1e-7, on edges that change by 4 % per mm and over 10⁴ points
    assert float(error_mm(found.poses, plain.poses).max()) < 1e-3
    assert float(error_mm(found.poses, moved.poses).max()) < NOISELESS_MM


def test_a_receive_field_needs_the_bias_model(level, at_rest, mask, moved):
    x, y, z = (world_points(SHAPE, AFFINE).T / 40).reshape(3, *SHAPE)
    field = (1 + 0.25 * x - 0.15 * z + 0.15 * y**2).float()
    error = {}
    for model in ("gain", "bias"):
        target = target_of(level, at_rest[None], mask, model)
        found = register(target, frames_at(level, moved.frames * field), rest(6))
        error[model] = float(error_mm(found.poses, moved.poses).max())
    # The field is polynomial in the frame, and seen from the head that moved it still is,
    assert error["bias"] < 0.05
    # and without: 25 % over the head pulls the edges on its two sides the same way
    assert error["gain"] > 10 * error["bias"]


@pytest.mark.parametrize("out", [20.0, 50.0])
def test_a_head_partly_outside_the_field_of_view(level, target, out):
    start = rest(4)
    start[:, 2, 3] = out
    poses = random_poses(4, 8, 4)
    poses[:, 2, 3] += out
    found = register(target, frames_at(level, volumes(poses)), start)
    # the border's mirrored blur counts less within the margin, but it counts
    assert float(error_mm(found.poses, poses).max()) < 2 * NOISELESS_MM
    # of a ball of 37 mm a cap is missing, beyond the last voxel centre (43.5 mm above the middle)
    # and half the margin (2.1 mm); the head is no ball and each pose shifts it by up to 4 mm
    cap = 37 + out + 2.1 - 43.5
    expected = 1 - cap**2 * (3 * 37 - cap) / (4 * 37**3)
    torch.testing.assert_close(found.in_view.mean(), f64(expected), rtol=0, atol=0.06)


@pytest.mark.parametrize(
    ("sizes", "turn", "shape"),
    [
        ((2.5, 2.5, 4.5), (0.0, 0.0, 0.0), (44, 44, 25)),
        ((-2.5, 3.0, 4.0), (0.3, -0.5, 0.2), (44, 37, 28)),
    ],
)
def test_any_affine(sizes, turn, shape):
    poses = random_poses(6, degrees=8, shift=4)
    affine = grid_affine(sizes, turn, shape)
    grid = {"affine": affine, "shape": shape}
    level = fine_level(**grid)
    still = volume(torch.eye(4).double(), **grid)
    target = target_of(level, still[None], head_mask(**grid, grown=1.1))
    found = register(target, frames_at(level, volumes(poses, **grid)), rest(6))
    # slices of 4.5 mm alias edges of 3.6 mm twice as much as voxels of 3 mm
    limit = NOISELESS_MM * (2 if max(sizes) > 4 else 1)
    assert float(error_mm(found.poses, poses).max()) < limit


@pytest.fixture(scope="module")
def coarse_level():
    return make_level(GRID, blur=4.0, spacing=4.0)


def test_edge_strength_finds_an_unknown_contrast(coarse_level, at_rest, mask, moved):
    """Two channels agree where one's contrast is another's: the second holds the pose."""
    images, still = coarse_level.image(moved.frames), coarse_level.image(at_rest)

    def channels(image):
        return [image, gradient_magnitude(image, coarse_level)]

    target = make_target(
        [c[None] for c in channels(still)],
        coarse_level.image(mask).clamp(0, 1),
        coarse_level,
        center=f64([0.0, 0.0, 0.0]),
        radius=RADIUS,
    )
    found = register(target, torch.stack(channels(images), dim=1), rest(6))
    # linear interpolation of samples as far apart as the blur is wide, of the frame and of its
    # edges: its smoothing varies by 3 % from on to between samples, of edges 5 mm wide
    assert float(error_mm(found.poses, moved.poses).max()) < 0.2
    # one channel that holds only noise must not spoil the other
    spoiled = torch.stack([noise(images.shape, 50.0), channels(images)[1]], dim=1)
    found = register(target, spoiled, rest(6))
    assert float(error_mm(found.poses, moved.poses).max()) < 0.3


def test_several_images_explain_any_mixture_of_them(level, at_rest, mask, target, moved):
    share = torch.linspace(0, 1, 6)[:, None, None, None]

    def other(image):  # another contrast of the same head
        return image**2 / 100

    mixed = frames_at(level, (1 - share) * moved.frames + share * other(moved.frames))
    both = target_of(level, torch.stack([at_rest, other(at_rest)]), mask)
    found = register(both, mixed, rest(6))
    assert float(error_mm(found.poses, moved.poses).max()) < NOISELESS_MM
    alone = register(target, mixed, rest(6))
    # where the wrong contrast is all there is, the edges of the parts pull
    assert float(error_mm(alone.poses, moved.poses)[-1]) > 5 * NOISELESS_MM


# noise must be what limits: coarse frames leave linear interpolation's residual, as of noise of 3
@pytest.mark.parametrize(
    ("coarse", "sigma"), [(False, 2.0), (False, 6.0), (True, 6.0), (True, 12.0)]
)
def test_covariance_tells_the_error(coarse, sigma, coarse_level, level, at_rest):
    count, true = 96, pose((2, -1, 2), (1, 1.5, -0.5))
    used = coarse_level if coarse else level
    target = target_of(used, at_rest[None], head_mask(grown=1.1))
    frames = volume(true) + noise((count, *SHAPE), sigma)
    found = register(target, frames_at(used, frames), true.repeat(count, 1, 1))
    error = torch.cat(
        rigid.to_parameters(rigid.inverse(true) @ found.poses, torch.zeros(count, 3).double()), 1
    )
    error -= error.mean(dim=0)  # covariance is about noise: interpolation's bias is not in it
    z = error / found.covariance.diagonal(dim1=1, dim2=2).sqrt()
    # 96 draws know a standard deviation to 7 %; what the blur makes neighbours share is a rough
    # count, so within a factor of 3
    spread = z.square().mean(dim=0).sqrt()
    assert bool(((spread > 1 / 3) & (spread < 3)).all()), spread
    assert torch.equal(found.covariance, found.covariance.mT) or torch.allclose(
        found.covariance, found.covariance.mT, rtol=1e-6
    )


def test_robust_weights_resist_a_bright_blob(level, target, moved):
    away = world_points(SHAPE, AFFINE) - f64([25.0, 10.0, 20.0])
    blob = 500 * torch.exp(-away.square().sum(dim=1) / (2 * 6.0**2))
    frames = frames_at(level, moved.frames + blob.reshape(SHAPE).float())
    error = {
        robust: float(
            error_mm(register(target, frames, rest(6), robust=robust).poses, moved.poses).max()
        )
        for robust in (True, False)
    }
    # Five times the head's intensity at its rim, over 6 mm: the blob's skirt, less bright than the
    # head's own contrast, keeps some weight. Less than a third of a voxel remains
    assert error[True] < 1.0
    assert error[False] > 5 * error[True]


@pytest.mark.parametrize(
    "neighbour",
    [torch.nan, noise(SHAPE, 50.0)],
    ids=["nan", "noise"],
)
def test_frames_of_a_batch_do_not_know_each_other(level, target, moved, neighbour):
    alone = register(target, frames_at(level, moved.frames[2:3]), rest(1))
    frames = moved.frames.clone()
    frames[[0, 1, 3, 4, 5]] = neighbour
    together = register(target, frames_at(level, frames), rest(6))
    # batched products add in another order: 1e-7 of float32, on the pose by way of a 6×6 solve
    third = vars(together.rows([2])).values()
    for found, expected in zip(third, vars(alone).values(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert float(error_mm(together.poses, moved.poses)[2]) < NOISELESS_MM
    assert bool(torch.isfinite(together.poses).all())
    # what holds no head looks like none
    assert float(together.similarity[[0, 1, 3, 4, 5]].max()) < 0.3


def test_less_than_half_in_view_counts_for_less():
    found = Registration(rest(3), rest(3), f64([0.9, 0.9, 0.9]), f64([1.0, 0.5, 0.1]))
    torch.testing.assert_close(found.score, f64([0.9, 0.9, 0.18]))
    last_first = Registration.joined([found.rows([2]), found])
    torch.testing.assert_close(last_first.score, f64([0.18, 0.9, 0.9, 0.18]))


def test_the_most_informative_points_are_enough(level, at_rest, mask, moved):
    sparse = make_target(
        [level.image(at_rest)[None]],
        mask,
        level,
        center=f64([0.0, 0.0, 0.0]),
        radius=RADIUS,
        max_points=2000,
    )
    assert len(sparse.points) == 2000
    found = register(sparse, frames_at(level, moved.frames), rest(6))
    assert float(error_mm(found.poses, moved.poses).max()) < 2 * NOISELESS_MM


def test_a_window_of_the_frame_is_enough(target, moved):
    inner = slice(3, 34), slice(4, 38), slice(1, 29)
    window = make_level(GRID.part(inner), blur=2.1, cubic=True)
    part = moved.frames[:, *inner]
    found = register(target, window.sampled(part)[:, None], rest(6), level=window)
    # edges of the window are as those of the field of view
    assert float(error_mm(found.poses, moved.poses).max()) < 2 * NOISELESS_MM

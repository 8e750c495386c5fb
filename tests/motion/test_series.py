import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests import heads
from tests.phantom import (
    AFFINE,
    SHAPE,
    error_mm,
    f64,
    grid_affine,
    head_mask,
    noise,
    pose,
    random_poses,
    volume,
    volumes,
)
from unimo_bids.motion.estimation import estimate_motion
from unimo_bids.motion.frames import Frames
from unimo_bids.motion.settings import MotionSettings
from unimo_bids.simulation import kinematics, simulate
from unimo_bids.simulation.artefacts import ContrastChange, RicianNoise
from unimo_bids.spatial import rigid

COUNT = 12
# 1 % noise on the worst of the head's six ends: the covariances of `test_registration` say 0.03 mm
# per parameter and frame, and as much again for the reference that is never averaged away
FINE_MM = 0.15
AFFINE_ = AFFINE.numpy()
REFERENCE = 3


def wandering(count, degrees=3.0, shift=2.0):
    """Smooth motion, different about and along each axis."""
    t = torch.linspace(0, 1, count).double()[:, None]
    turn = math.radians(degrees) * torch.sin(4 * t + f64([0.3, 2.0, 4.5]))
    return rigid.from_parameters(turn, shift * torch.sin(5 * t + f64([1.0, 3.0, 5.0])))


def as_series(frames):
    return np.ascontiguousarray(frames.permute(1, 2, 3, 0).numpy())


def errors(estimate, poses):
    """Largest displacement of the head's ends per frame, relative to the same reference, mm."""
    relative = poses @ rigid.inverse(poses[estimate.reference])
    return error_mm(torch.from_numpy(estimate.poses), relative).numpy()


def measured(series, mask, affine=AFFINE_, **options):
    """Estimate with the mask and a fixed reference."""
    options = {"reference": REFERENCE} | options
    return estimate_motion(series, affine, mask=mask, **options)


@pytest.fixture(scope="module")
def head_grown(mask):
    return mask.numpy()


@pytest.fixture(scope="module")
def moving(head_grown):
    """A series of twelve frames, its poses and what is estimated of it."""
    poses = wandering(COUNT)
    series = as_series(volumes(poses) + noise((COUNT, *SHAPE), 1.0))
    return SimpleNamespace(poses=poses, series=series, found=measured(series, head_grown))


def test_a_series_is_measured(moving):
    found = moving.found
    assert errors(found, moving.poses).max() < FINE_MM
    assert found.reference == REFERENCE
    assert np.array_equal(found.poses[REFERENCE], np.eye(4))
    assert found.status.tolist() == ["ok"] * COUNT
    assert found.similarity.min() > 0.99  # 1 % noise, less what the blur takes of it
    for name, shape in {
        "poses": (COUNT, 4, 4),
        "covariance": (COUNT, 6, 6),
        "similarity": (COUNT,),
        "template": SHAPE,
        "mask": SHAPE,
        "center": (3,),
    }.items():
        value = getattr(found, name)
        assert value.shape == shape
        assert np.isfinite(value).all()
    # the template is the head at rest in the reference: noise and interpolation of its edges
    still = volume(moving.poses[REFERENCE]).numpy()
    inside = volume(moving.poses[REFERENCE]).numpy() > 30
    assert np.sqrt(np.mean((found.template - still)[inside] ** 2)) < 1.0


def test_errors_are_as_large_as_the_covariance_says(moving):
    center = torch.from_numpy(moving.found.center)
    true = moving.poses @ rigid.inverse(moving.poses[REFERENCE])
    found = torch.from_numpy(moving.found.poses)
    error = torch.cat(rigid.to_parameters(rigid.inverse(true) @ found, center.expand(COUNT, 3)), 1)
    z = error / torch.from_numpy(moving.found.covariance).diagonal(dim1=1, dim2=2).sqrt()
    # the reference's own error comes in as well: √2; beyond it, the factor of 3 of the rough count
    # of independent points
    assert 1 / 3 < float(z[np.arange(COUNT) != REFERENCE].square().mean().sqrt()) < 3 * math.sqrt(2)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.uint16, np.float64, ">i2"])
def test_any_type_of_number_will_do(moving, head_grown, dtype):
    series = moving.series.clip(0, 250).round().astype(dtype)
    # rounding adds noise of 0.3
    assert errors(measured(series, head_grown), moving.poses).max() < FINE_MM


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_do_not_matter(moving, head_grown, scale):
    found = measured(moving.series.astype(np.float64) * scale, head_grown)
    # float32 roundings, 1e-7, by way of a few solves
    assert (
        error_mm(torch.from_numpy(found.poses), torch.from_numpy(moving.found.poses)).max() < 1e-3
    )


@pytest.mark.parametrize(
    ("sizes", "turn", "shape"),
    [
        ((-2.5, 3.0, 4.0), (0.3, -0.5, 0.2), (46, 40, 29)),
        ((3.0, -3.0, 2.5), (1.4, 0.0, 0.0), (37, 40, 44)),
    ],
)
def test_any_affine_will_do(moving, sizes, turn, shape):
    affine = grid_affine(sizes, turn, shape)
    frames = volumes(moving.poses, affine=affine, shape=shape) + noise((COUNT, *shape), 1.0)
    found = measured(as_series(frames), head_mask(affine, shape, 1.1).numpy(), affine.numpy())
    assert errors(found, moving.poses).max() < FINE_MM


def test_two_runs_are_the_same_bit_for_bit(moving, head_grown):
    again = vars(measured(moving.series, head_grown))
    for name, value in vars(moving.found).items():
        assert np.array_equal(value, again[name]), name


@pytest.mark.parametrize("kind", ["bool", "soft", "0 … 255", "one per frame", "none"])
def test_any_mask_will_do(moving, head_grown, kind):
    masks = {
        "bool": head_grown > 0,
        "soft": torch.nn.functional.avg_pool3d(torch.from_numpy(head_grown)[None], 3, 1, 1)[
            0
        ].numpy(),
        "0 … 255": (255 * head_grown).astype(np.uint8),
        "one per frame": as_series(volumes(moving.poses)) > 30,
        "none": None,
    }
    found = measured(moving.series, masks[kind])
    assert errors(found, moving.poses).max() < FINE_MM
    assert found.status.tolist() == ["ok"] * COUNT


@pytest.mark.parametrize(
    "shape", [(36, 40), (36, 40, 29), (40, 36, 30), (36, 40, 30, 5), (36, 40, 30, 13)]
)
def test_a_mask_of_another_shape_is_an_error(moving, shape):
    with pytest.raises(ValueError, match="mask"):
        measured(moving.series, np.ones(shape))


def test_an_empty_mask_is_an_error(moving):
    with pytest.raises(ValueError, match="mask is empty"):
        measured(moving.series, np.zeros(SHAPE))


@pytest.mark.parametrize("reference", [-1, COUNT])
def test_a_reference_beyond_the_series_is_an_error(moving, reference):
    with pytest.raises(ValueError, match=f"reference {reference}"):
        estimate_motion(moving.series, AFFINE_, reference=reference)


@pytest.mark.parametrize("value", [0, 7, np.nan])
def test_a_series_without_image_is_an_error(value):
    with pytest.raises(ValueError, match="no frame holds an image"):
        estimate_motion(np.full((8, 8, 8, 3), value, dtype=np.float32), AFFINE_)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_short_series(moving, count):
    found = estimate_motion(moving.series[..., :count], AFFINE_)
    assert found.status.tolist() == ["ok"] * count
    assert errors(found, moving.poses[:count]).max() < FINE_MM


def test_the_reference_is_taken_where_the_head_is_still(head_grown):
    poses = wandering(20, degrees=6, shift=4)
    poses[12:18] = poses[14]
    found = measured(
        as_series(volumes(poses) + noise((20, *SHAPE), 1.0)), head_grown, reference="auto"
    )
    assert 12 <= found.reference < 18


def torn(frame, _):
    """Every other slice from another place, as when the head moves between two packets."""
    other = volume(pose((0, 25, 15), (14, -6, 9))).numpy()
    return np.where(np.arange(SHAPE[2]) % 2, other, frame)


def hot_voxel(frame, _):
    empty = np.zeros_like(frame)
    empty[1, 1, 1] = 500
    return empty


BROKEN = {
    "empty": lambda frame, _: np.zeros_like(frame),
    "constant": lambda frame, _: np.full_like(frame, 77),
    "NaN": lambda frame, _: np.full_like(frame, np.nan),
    "infinite": lambda frame, _: np.full_like(frame, np.inf),
    "noise": lambda _, rng: np.abs(50 * rng.standard_normal(SHAPE)).astype(np.float32),
    "torn": torn,
    "one hot voxel in nothing": hot_voxel,
}


@pytest.mark.parametrize(
    "kind",
    # a torn one is looked for at all rotations
    [pytest.param(one, marks=pytest.mark.slow if one == "torn" else ()) for one in BROKEN],
)
def test_a_broken_frame_is_flagged_and_the_others_do_not_mind(moving, head_grown, kind):
    series, rng = moving.series.copy(), np.random.default_rng(0)
    for t in (6, COUNT - 1):
        series[..., t] = BROKEN[kind](series[..., t], rng)
    found = measured(series, head_grown)
    good = np.isin(np.arange(COUNT), (6, COUNT - 1), invert=True)
    assert found.status[6] == "bridged"
    assert found.status[-1] == "lost"  # nothing follows to bridge to
    assert (found.status[good] == "ok").all()
    assert errors(found, moving.poses)[good].max() < FINE_MM
    assert np.isfinite(found.poses).all()
    # between two good frames motion is smooth: of a wave of 5 rad in 12 frames the second
    # difference is (5/11)² = 0.2, an eighth of it per mm of amplitude lies between chord and wave;
    # a torn frame's own pose has a say
    assert errors(found, moving.poses)[6] < 1.0
    # and less is known of it than of any other
    spread = found.covariance[:, 3:, 3:].trace(axis1=1, axis2=2)
    assert spread[6] > 3 * spread[good].max()


def test_holes_of_nan_are_survived(moving, head_grown):
    series = moving.series.copy()
    series[:8, :8, :8, 6] = np.nan  # a corner of air
    series[20:23, 10:13, 14:17, 8] = np.nan  # a hole in the head
    found = measured(series, head_grown)
    others = np.arange(COUNT) != 8
    assert (found.status[others] == "ok").all()
    assert errors(found, moving.poses)[others].max() < FINE_MM
    assert np.isfinite(found.poses).all()
    # robust weights leave out the hole: nine tenths of a cubic centimetre in 180
    assert errors(found, moving.poses)[8] < 2 * FINE_MM


def test_a_broken_first_frame_does_not_become_the_reference(moving):
    series = moving.series.copy()
    series[..., 0] = 0
    found = estimate_motion(series, AFFINE_)
    assert found.reference != 0
    assert found.status[0] == "lost"
    assert errors(found, moving.poses)[1:].max() < FINE_MM


@pytest.mark.parametrize("network", [True, False])
def test_a_head_that_jumped_is_found(moving, head_grown, network):
    poses = moving.poses.clone()
    poses[7] = pose((170, 0, 0), (3, 0, 0))
    series = moving.series.copy()
    series[..., 7] = (volume(poses[7]) + noise(SHAPE, 1.0, seed=7)).numpy()
    found = measured(series, head_grown, settings=MotionSettings(network=network))
    assert errors(found, poses).max() < FINE_MM
    status = found.status.tolist()
    assert status.pop(7) in ({"ok", "searched"} if network else {"searched"})
    assert set(status) == {"ok"}
    # unless not asked for; then it is not believed either
    unsearched = measured(series, head_grown, settings=MotionSettings(search=False, network=False))
    assert unsearched.status[7] == "bridged"


@pytest.mark.slow
def test_contrast_from_frame_to_frame_is_no_motion():
    """Tissues of any intensity in any frame; what moves is not told."""
    truth = simulate(
        heads.adult(),
        kinematics.uniform_range(16, 8, 6, seed=2),
        shape=(46, 54, 44),
        voxel_sizes=4.0,
        artefacts=[ContrastChange(), RicianNoise(10)],
        seed=1,
    )
    found = estimate_motion(truth.data, truth.affine, reference=0)
    error = rigid.displacement(
        torch.from_numpy(found.poses),
        torch.from_numpy(truth.poses),
        torch.as_tensor(truth.brain_points, dtype=torch.float64),
    ).mean(dim=-1)
    # what is promised for changing contrast
    assert float(error.median()) < 0.15
    assert float(error.max()) < 0.35


@pytest.mark.slow
@pytest.mark.parametrize("tissues", [1, 3])
def test_tissues_that_change_on_their_own_are_no_motion(head_grown, tissues):
    """Large smooth parts: what changes at their borders is easily taken for motion."""
    rng = np.random.default_rng(7)
    poses = random_poses(24, 6.0, 5.0, seed=8)
    poses[0] = torch.eye(4)
    gains = np.ones((24, 3))
    gains[:, :tissues] = rng.uniform(0.2, 1.8, (24, tissues))
    frames = [volume(p, gains=tuple(g)) for p, g in zip(poses, gains, strict=True)]
    series = as_series(torch.stack(frames) + noise((24, *SHAPE), 0.5))
    found = measured(series, head_grown, reference=0)
    # the images are estimated too: what they take for contrast is lost to the poses
    assert errors(found, poses).max() < 2 * FINE_MM


def test_a_series_is_measured_the_same_in_any_pieces(moving, head_grown, monkeypatch):
    def fives(_, indices):
        return (indices[k : k + 5] for k in range(0, len(indices), 5))

    monkeypatch.setattr(Frames, "chunks", fives)
    found = torch.from_numpy(measured(moving.series, head_grown).poses)
    # windows differ with the frames they hold; the spline forgets the border 8 voxels away
    assert float(error_mm(found, torch.from_numpy(moving.found.poses)).max()) < 1e-3


def test_frames_are_read_one_at_a_time_and_progress_is_told(moving, head_grown):
    class Lazy:
        shape = moving.series.shape

        def __getitem__(self, index):
            assert index[0] is Ellipsis
            assert isinstance(index[1], int)
            return moving.series[index]

    shares = []
    found = measured(Lazy(), head_grown, progress=lambda share, _: shares.append(share))
    assert np.array_equal(found.poses, moving.found.poses)
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] == 1


@pytest.mark.parametrize("slices", [2, 3])
def test_a_thin_slab_is_not_fatal(slices):
    shape = (36, 40, slices)
    affine = grid_affine((3.0, 3.0, 8.0), shape=shape)
    poses = torch.stack([pose((0, 0, a), (a / 2, -a / 3, 0)) for a in (0.0, 1.0, 2.0, 1.0)])
    frames = volumes(poses, affine=affine, shape=shape)
    found = estimate_motion(as_series(frames), affine.numpy(), reference=0)
    # in plane there is nothing to doubt: the turn about the slices' axis and the shift within them
    turn, shift = rigid.to_parameters(torch.from_numpy(found.poses) @ rigid.inverse(poses))
    assert float(torch.rad2deg(turn[:, 2].abs()).max()) < 0.5
    assert float(shift[:, :2].abs().max()) < 0.5

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.phantom import AFFINE, f64, grid_affine, head_mask, pose, random_poses, volume, volumes
from unimo_bids.motion.correction import correct_series
from unimo_bids.spatial import rigid
from unimo_bids.spatial.grid import Grid
from unimo_bids.spatial.resampling import resample
from unimo_bids.spatial.warp import Field, Rigid

# indices are float32: at 40 voxels 4e-6, times slopes of noise of some 3 per voxel
FLOAT32 = 2e-5

OBLIQUE = grid_affine((3.0, 2.5, 4.0), turn=(0.2, -0.3, 0.1), shape=(9, 9, 9))

both = pytest.mark.parametrize("interpolation", ["cubic", "linear"])


@both
@pytest.mark.parametrize("shift", [(2, 0, 0), (0, -3, 1), (-1, 2, -2)], ids=str)
@pytest.mark.parametrize(
    "affine", [AFFINE, grid_affine((-2.5, 3.0, 4.0), (0.3, -0.5, 0.2))], ids=["plain", "oblique"]
)
def test_undoing_a_whole_voxel_shift_copies(interpolation, shift, affine):
    frame = torch.randn(14, 15, 13)
    moved = torch.eye(4).double()
    moved[:3, 3] = affine[:3, :3] @ f64(shift)
    found = resample(frame, Grid.of(frame.shape, affine), Rigid(moved), interpolation=interpolation)
    expected = torch.roll(frame, [-s for s in shift], (0, 1, 2))
    for axis, s in enumerate(shift):  # what came from outside is nothing
        gone = range(frame.shape[axis] - s, frame.shape[axis]) if s > 0 else range(-s)
        expected.index_fill_(axis, torch.tensor(list(gone), dtype=torch.int64), 0.0)
    torch.testing.assert_close(found, expected, rtol=0, atol=FLOAT32)
    assert bool((found[expected == 0] == 0).all())


@both
@pytest.mark.parametrize("n", [10, 11])
def test_undoing_a_quarter_turn_is_rot90(interpolation, n):
    frame, affine = torch.randn(n, n, n), grid_affine(shape=(n, n, n))
    turn = rigid.from_parameters(f64([0, 0, math.pi / 2]), f64([0, 0, 0.0]))
    found = resample(frame, Grid.of(frame.shape, affine), Rigid(turn), interpolation=interpolation)
    torch.testing.assert_close(found, torch.rot90(frame, -1, (0, 1)), rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("outside", [0.0, -7.0, math.nan])
def test_the_field_of_view_ends_half_a_voxel_beyond_the_last_centers(outside):
    frame, grid = torch.ones(8, 8, 8), Grid((8, 8, 8), grid_affine())
    for shift, unseen in ((1.4, 0), (1.6, 1), (4.4, 1), (4.6, 2)):
        found = resample(frame, grid, Rigid(pose((0, 0, 0), (shift, 0, 0))), outside=outside)
        expected = torch.ones(8, 8, 8)
        expected[8 - unseen :] = outside
        # B-spline weights of float32 add to one but for roundings
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6, equal_nan=True)


def test_undoing_motion_shows_the_head_at_rest(at_rest):
    poses, inside = random_poses(3, degrees=12, shift=6), head_mask() > 0
    frames = volumes(poses).permute(1, 2, 3, 0).numpy()
    error = {
        how: max(
            float((torch.from_numpy(out) - at_rest)[inside].square().mean().sqrt())
            for out in correct_series(frames, AFFINE.numpy(), poses.numpy(), interpolation=how)
        )
        for how in ("cubic", "linear")
    }
    # of 100: edges of 3.6 mm between samples 3 mm apart hold 1 % above what cubic carries whole
    assert error["cubic"] < 0.5
    assert error["linear"] > 3 * error["cubic"]


def test_an_oblique_frame_is_read_onto_another_oblique_grid():
    """Through a pose, and flipped on the way; the truth is the head itself on that grid."""
    here = {"affine": grid_affine((-2.5, 3.0, 3.5), (0.3, -0.5, 0.2), (46, 42, 34))}
    there = {"affine": grid_affine((3.0, -2.5, 3.0), (-0.4, 0.2, 0.6), (40, 48, 36))}
    here["shape"], there["shape"] = (46, 42, 34), (40, 48, 36)
    moved = pose((10, -6, 14), (4, -3, 5))
    grid, onto = (Grid(one["shape"], one["affine"]) for one in (here, there))
    found = resample(volume(moved, **here), grid, Rigid(moved), onto=onto)
    off = (found - volume(torch.eye(4).double(), **there))[head_mask(**there) > 0]
    # of 100, as on its own grid: cubic leaves 0.1, linear 1.2, the inverse pose 36
    assert float(off.square().mean().sqrt()) < 0.3


_PEAK = """
import resource
import numpy as np
from unimo_bids.motion.correction import correct_series

class Series:
    shape = (64, 64, 64, 64)

    def __getitem__(self, index):
        return np.full(self.shape[:3], index[-1], np.float32)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

poses = np.tile(np.eye(4), (64, 1, 1))
poses[:, 0, 3] = 0.5
frames = correct_series(Series(), np.eye(4), poses)
next(frames), next(frames)
before = peak()
for _ in frames:
    pass
print(peak() - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_frames():
    command = [sys.executable, "-c", _PEAK]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    # the 62 frames that follow the first two are 62 MiB; an allocator may keep some
    assert int(done.stdout) < 16 * 2**20


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32, np.float64, ">i2"])
def test_a_frame_at_rest_is_handed_on_exactly(dtype):
    series = np.random.default_rng(0).integers(0, 250, (6, 7, 5, 3)).astype(dtype)
    rest, moved = np.eye(4), pose((3, 0, 0), (1, 0, 0)).numpy()
    out = list(correct_series(series, AFFINE.numpy(), np.stack([rest, moved, rest])))
    assert all(volume.dtype == np.float32 and volume.shape == (6, 7, 5) for volume in out)
    assert np.array_equal(out[0], series[..., 0].astype(np.float32))
    assert np.array_equal(out[2], series[..., 2].astype(np.float32))
    assert not np.array_equal(out[1], series[..., 1].astype(np.float32))


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_nothing(hole):
    series = np.ones((6, 7, 5, 2), dtype=np.float32)
    series[2, 3, 1] = hole
    filled = np.nan_to_num(series, posinf=0, neginf=0)
    poses = np.stack([np.eye(4), pose((5, 0, 0), (1, 0, 0)).numpy()])
    found, expected = (list(correct_series(s, AFFINE.numpy(), poses)) for s in (series, filled))
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_frames_are_read_once_and_in_order():
    class Recorded:
        shape = (5, 5, 5, 4)
        asked: list[int] = []  # noqa: RUF012

        def __getitem__(self, index):
            self.asked.append(index[-1])
            return np.full((5, 5, 5), index[-1])

    shares = []
    frames = correct_series(
        Recorded(),
        AFFINE.numpy(),
        np.stack([np.eye(4)] * 4),
        progress=lambda s, _: shares.append(s),
    )
    assert [float(frame.mean()) for frame in frames] == [0, 1, 2, 3]
    assert Recorded.asked == [0, 1, 2, 3]
    assert shares == [0.25, 0.5, 0.75, 1.0]


def test_a_large_volume_in_pieces_is_the_whole(at_rest):
    """More points than are sampled at once."""
    shape = (80, 80, 60)
    affine = grid_affine((1.5, 1.5, 1.6), shape=shape)
    moved = pose((0, 0, 0), (3.0, -1.5, 1.6))  # whole voxels
    found = resample(volume(moved, affine, shape), Grid(shape, affine), Rigid(moved))
    expected = volume(torch.eye(4).double(), affine, shape)
    seen = (slice(0, -2), slice(1, None), slice(0, -1))
    # float32 indices at slopes of up to 15 per voxel
    torch.testing.assert_close(found[seen], expected[seen], rtol=0, atol=1e-3)


def test_a_window_of_another_grid_is_that_part_of_it():
    frame, moved = torch.randn(14, 15, 13), pose((4, -3, 6), (2.0, 1.0, -3.0))
    grid = Grid((14, 15, 13), grid_affine(shape=(14, 15, 13)))
    onto = Grid((9, 20, 11), OBLIQUE)
    whole = resample(frame, grid, Rigid(moved), onto=onto, outside=-5.0)
    window = slice(2, 8), slice(5, 17), slice(0, 9)
    part = resample(frame, grid, Rigid(moved), onto=onto, window=window, outside=-5.0)
    assert torch.equal(part, whole[window])
    assert bool((whole != -5).any()) and bool((whole == -5).any())


def test_labels_stay_labels_and_vectors_keep_their_parts():
    labels = torch.randint(0, 5, (10, 11, 12)).float()
    grid, moved = Grid((10, 11, 12), AFFINE), Rigid(pose((5, 8, -4), (1.0, 2.0, 0.5)))
    found = resample(labels, grid, moved, interpolation="nearest")
    assert set(found.unique().tolist()) <= {0.0, 1.0, 2.0, 3.0, 4.0}
    vectors = torch.randn(3, 10, 11, 12)
    parts = torch.stack([resample(one, grid, moved) for one in vectors])
    torch.testing.assert_close(resample(vectors, grid, moved), parts)


def test_a_field_that_shifts_is_as_the_pose_that_does():
    frame, grid = torch.randn(12, 13, 14), Grid((12, 13, 14), AFFINE)
    shift = torch.tensor([2.5, -1.0, 0.5])
    field = Field(grid, shift[:, None, None, None].expand(3, 12, 13, 14))
    by_pose = resample(frame, grid, Rigid(pose((0, 0, 0), shift.tolist())))
    torch.testing.assert_close(resample(frame, grid, field), by_pose, rtol=0, atol=1e-3)

import nibabel as nib
import numpy as np
import pytest

from tests.phantom import AFFINE, SHAPE, noise, random_poses, volumes
from unimo_bids.files.series import read_series, timed
from unimo_bids.motion.correction import correct_series, moving, seen, write_corrected
from unimo_bids.motion.estimate import MotionEstimate
from unimo_bids.motion.frames import Preceded
from unimo_bids.spatial.grid import Grid

COUNT = 12


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    """A file of a moving head, and its poses."""
    poses = random_poses(COUNT, 4.0, 3.0, seed=2)
    frames = volumes(poses) + noise((COUNT, *SHAPE), 0.5)
    image = nib.Nifti1Image(frames.permute(1, 2, 3, 0).numpy(), AFFINE.numpy())
    image.header.set_zooms((*image.header.get_zooms()[:3], 2.0))
    path = tmp_path_factory.mktemp("moved") / "moved.nii"
    nib.save(image, path)
    return path, poses.numpy()


def corrected(moved, mask, path, status=("ok",) * COUNT, non_steady=0):
    template = volumes(random_poses(1, 0.0, 0.0))[0].numpy()
    motion = estimate(moved[1], template, mask, status)
    return write_corrected(path, read_series(moved[0]), motion, non_steady=non_steady)


def estimate(poses, template, mask, status):
    unknown = np.full((COUNT, 6, 6), np.nan)
    similarity, center = np.ones(COUNT), np.zeros(3)
    status = np.array(status, dtype="<U8")
    return MotionEstimate(
        poses, unknown, similarity, status, template, mask.numpy(), 0, center, 50.0
    )


def test_the_series_stands_still_and_is_compared(moved, mask, tmp_path):
    found = corrected(moved, mask, tmp_path / "still.nii.gz")
    before, after = found.similarity
    assert before.max() < 0.97 and after.min() > 0.99
    inside = mask.numpy() > 0.5
    was, is_now = (float(np.median(ratio[inside])) for ratio in found.tsnr())
    assert is_now > 5 * was
    still = np.asarray(nib.load(tmp_path / "still.nii.gz").dataobj)
    assert still.shape == (*SHAPE, COUNT)


def test_frames_that_are_not_to_be_believed_are_written_but_do_not_count(moved, mask, tmp_path):
    status = {3: "lost", 5: "bridged", 6: "searched"}
    given = [status.get(t, "ok") for t in range(COUNT)]
    found = corrected(moved, mask, tmp_path / "still.nii.gz", given, non_steady=2)
    kept = [t for t in range(COUNT) if t not in (0, 1, 3, 5)]
    raw, still = (read_series(path)[..., kept] for path in (moved[0], tmp_path / "still.nii.gz"))
    for moments, series in zip(found.moments, (raw, still), strict=True):
        assert moments.count == len(kept)
        # the corrected series is compared before it is rounded to the type on disk
        np.testing.assert_allclose(moments.mean, series.mean(-1), atol=1e-3)
    assert np.isfinite(found.similarity[1]).all()
    assert read_series(tmp_path / "still.nii.gz").shape[3] == COUNT


def test_without_two_frames_to_believe_there_is_no_ratio(moved, mask, tmp_path):
    found = corrected(moved, mask, tmp_path / "still.nii.gz", non_steady=COUNT - 1)
    for ratio in found.tsnr():
        np.testing.assert_array_equal(ratio, 0)


def test_what_a_frame_saw_is_what_is_not_0_in_the_corrected_series(moved):
    poses = moved[1].copy()
    poses[::3, :3, 3] += 40  # mm: far out at times
    ones = np.ones((*SHAPE, COUNT), dtype=np.float32)
    frames = np.stack(list(correct_series(ones, AFFINE.numpy(), poses)))
    inside = np.random.default_rng(0).uniform(size=SHAPE) > 0.5
    shown = seen(moving(poses), Grid.of(SHAPE, AFFINE), inside)
    np.testing.assert_array_equal(shown, frames[:, inside] != 0)
    assert 0.2 < shown[0].mean() < 0.8 < shown[1].mean() < 1


def test_a_known_repetition_time_goes_into_the_header(moved, mask, tmp_path):
    series = timed(read_series(moved[0]), 3.5)
    assert series.repetition_time == 3.5
    assert timed(series, None) is series
    motion = estimate(moved[1], series.frame(0), mask, ["ok"] * COUNT)
    write_corrected(tmp_path / "still.nii", series, motion)
    header = nib.load(tmp_path / "still.nii").header
    assert header.get_zooms()[3] == pytest.approx(3.5)
    assert header.get_xyzt_units()[1] == "sec"
    assert nib.load(moved[0]).header.get_zooms()[3] == 2  # the input is as it was


def test_a_reference_comes_before_the_first_frame(moved):
    series = read_series(moved[0])
    volume = np.full(SHAPE, 7.0, dtype=np.float32)
    both = Preceded(volume, series)
    assert both.shape == (*SHAPE, COUNT + 1)
    np.testing.assert_array_equal(both[..., 0], volume)
    np.testing.assert_array_equal(both[..., 5], series.frame(4))
    with pytest.raises(ValueError, match="before a series of"):
        Preceded(volume[:-1], series)

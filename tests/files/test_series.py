from __future__ import annotations

import gzip
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from tests.files.conftest import AFFINE
from unimo_bids.errors import InputError
from unimo_bids.files.series import read_mask, read_series


def reference(path):
    return np.asarray(nib.load(path).dataobj, dtype=np.float32)


@pytest.mark.parametrize("name", ["bold.nii", "bold.nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64, np.int64])
def test_every_type_reads_as_nibabel_reads_it(make, name, dtype):
    path = make(np.random.default_rng(1).uniform(0, 255, (6, 7, 5, 6)), name, dtype=dtype)
    series = read_series(path)
    assert series.shape == (6, 7, 5, 6) and series.warnings == ()
    assert series.data.dtype.itemsize <= 4
    for t in range(6):
        np.testing.assert_array_equal(series[..., t], reference(path)[..., t])
        assert series[..., t].dtype == np.float32
    np.testing.assert_allclose(series.affine, AFFINE, atol=1e-6)  # stored as float32
    assert series.repetition_time == 2.0


def test_frames_by_slice_and_list(make):
    path = make()
    np.testing.assert_array_equal(read_series(path)[..., 1:4], reference(path)[..., 1:4])
    np.testing.assert_array_equal(
        read_series(path)[..., np.array([4, 0])], reference(path)[..., [4, 0]]
    )
    np.testing.assert_array_equal(read_series(path)[..., -1], reference(path)[..., 5])
    with pytest.raises(TypeError, match=r"series\[\.\.\., t\]"):
        read_series(path)[0]


def test_slope_and_intercept(make):
    path = make(header={"scl_slope": 0.25, "scl_inter": -12})
    series = read_series(path)
    assert series.data.dtype == np.int16
    np.testing.assert_allclose(series[..., 3], reference(path)[..., 3], rtol=1e-6)


def test_wide_types_are_scaled_before_they_are_narrowed(make):
    # a float32 of 2^40 has no room for what the intercept leaves
    data = 2.0**40 + np.random.default_rng(1).uniform(0, 100, (6, 7, 5, 6))
    path = make(data, dtype=np.float64, header={"scl_slope": 1, "scl_inter": -(2.0**40)})
    np.testing.assert_allclose(read_series(path)[..., 0], data[..., 0] - 2.0**40, atol=1e-3)


def test_nifti2_and_a_trailing_axis(make):
    path = make(name="two.nii.gz", kind=nib.Nifti2Image)
    np.testing.assert_array_equal(read_series(path)[..., 5], reference(path)[..., 5])
    assert read_series(make(np.arange(6 * 7 * 5 * 6).reshape(6, 7, 5, 6, 1))).shape == (6, 7, 5, 6)


def test_contents_decide_not_the_name(make, tmp_path):
    packed = make()
    (tmp_path / "really_gzip.nii").write_bytes(packed.read_bytes())
    np.testing.assert_array_equal(
        read_series(tmp_path / "really_gzip.nii")[..., 0], reference(packed)[..., 0]
    )


def refused(path, match):
    with pytest.raises(InputError, match=match) as caught:
        read_series(path)
    sentence = str(caught.value)
    assert str(path) in sentence and sentence.endswith(".") and "\n" not in sentence
    assert caught.value.exit_code == 2


def grid(*shape):
    return np.random.default_rng(2).integers(1, 99, shape)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (grid(6, 7, 5), "3 dimensions"),
        (grid(6, 7, 5, 1), "single frame"),
        (grid(6, 7, 5, 2, 3), "5 dimensions"),
        (grid(6, 7, 1, 4), "too few"),
        (np.full((6, 7, 5, 4), 7), "every frame is empty"),
        (np.zeros((6, 7, 5, 4)), "every frame is empty"),
        (1e6 + 1e-7 * grid(6, 7, 5, 4), "every frame is empty .* or nearly"),
        (1e-20 * grid(6, 7, 5, 4), "every frame is empty .* or nearly"),
    ],
)
def test_what_is_no_series_is_refused(make, data, match):
    refused(make(data, dtype=np.float64), match)


def test_not_numbers(make, tmp_path):
    refused(make(dtype=np.complex64), "complex")
    rgb = np.zeros((6, 7, 5, 6), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(rgb, AFFINE), tmp_path / "rgb.nii.gz")
    refused(tmp_path / "rgb.nii.gz", "RGB")
    refused(make(header={"datatype": 999}), "unknown data type")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_infinity_become_zero(make, dtype):
    data = grid(6, 7, 5, 6).astype(float)
    data[1, 2, 3, 4], data[0, 0, 0, 0], data[..., 5] = np.nan, np.inf, np.nan
    series = read_series(make(data, dtype=dtype))
    assert series[..., 4][1, 2, 3] == 0 and series[..., 0][0, 0, 0] == 0
    assert np.isfinite(series[..., :]).all()
    assert series.empty_frames == (5,)
    assert any(f"{2 + 6 * 7 * 5} values are" in warning for warning in series.warnings)
    assert any("Frame 5 has the same value" in warning for warning in series.warnings)


def test_values_whose_squares_overflow(make):
    data = grid(6, 7, 5, 6).astype(float)
    data[0, 0, 0, 0] = 1e38
    for dtype, fields in ((np.float32, {}), (np.float32, {"scl_slope": 2, "scl_inter": 5})):
        series = read_series(make(data, dtype=dtype, header=fields))
        assert abs(series[..., 0][0, 0, 0]) < 1e-3
        assert series.warnings == ("1 value is NaN, infinite or beyond 1e15; treated as 0.",)
    # integers, by a slope that only a few of them survive
    data[0, 0, 0, 0] = 30000
    series = read_series(make(data, header={"scl_slope": 1e12, "scl_inter": 1}))
    assert series[..., 0][0, 0, 0] == 0 and series[..., 1].max() > 1e13
    assert series.warnings == ("1 value is NaN, infinite or beyond 1e15; treated as 0.",)
    refused(make(header={"scl_slope": 1e30, "scl_inter": 1}), "every frame is empty .* beyond 1e15")


def test_negative_signal_is_legal(make):
    path = make(header={"scl_slope": -2, "scl_inter": 0})
    series = read_series(path)
    assert series.warnings == () and series.empty_frames == ()
    np.testing.assert_array_equal(series[..., 1], reference(path)[..., 1])


@pytest.mark.parametrize(
    ("shape", "size", "slab"),
    [((20, 20, 4, 5), 4, "4 slices (16 mm)"), ((20, 20, 6, 5), 2, "6 slices (12 mm)"),
     ((20, 20, 5, 5), 4, None)],
)  # fmt: skip
def test_slabs_warn(make, shape, size, slab):
    warnings = read_series(make(grid(*shape), affine=np.diag([4, 4, size, 1]))).warnings
    assert [f"slab of {slab}:" in one for one in warnings] == ([] if slab is None else [True])


@pytest.mark.parametrize("keep", [0, 1, 10, 200, 400, 1000])
@pytest.mark.parametrize("name", ["bold.nii", "bold.nii.gz"])
def test_truncated(make, name, keep):
    path = make(name=name)
    path.write_bytes(path.read_bytes()[:keep])
    refused(path, "not a NIfTI|cut short|announces|cannot be read")


def test_truncated_by_a_byte_and_damaged(make):
    path = make()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    refused(path, "cut short")
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 255
    path.write_bytes(bytes(damaged))
    refused(path, "damaged|ends within|cannot|announces")


def test_trailing_garbage(make):
    packed, plain = make(), make(name="plain.nii")
    packed.write_bytes(packed.read_bytes() + b"garbage")
    refused(packed, "damaged")
    plain.write_bytes(plain.read_bytes() + b"garbage")
    member = make(name="more.nii.gz")
    member.write_bytes(member.read_bytes() + gzip.compress(bytes(500)))
    for path, more in ((plain, 7), (member, 500)):
        series = read_series(path)
        assert series.warnings == (
            f"What follows its 6 frames in the file, {more} bytes, is left out.",
        )
        np.testing.assert_array_equal(series[..., 5], reference(make())[..., 5])


@pytest.mark.parametrize("name", ["bold.nii", "bold.nii.gz"])
@pytest.mark.parametrize("frames", [7, 5000])
def test_a_lying_number_of_frames(make, name, frames):
    refused(make(name=name, header={"dim": {4: frames}}), "announces|announces$")


@pytest.mark.parametrize("name", ["bold.nii", "bold.nii.gz"])
def test_a_claim_of_ten_terabytes_allocates_nothing(make, name):
    refused(make(name=name, header={"dim": {1: 22000, 2: 22000, 3: 10000, 4: 1}}), "single frame")
    refused(make(name=name, header={"dim": {1: 22000, 2: 22000, 3: 5000, 4: 2}}), "announces")
    refused(make(name=name, header={"dim": {1: 32000, 2: 32000, 3: 32000, 4: 32000}}), "announces")


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"magic": b"xyz"}, "magic number"),
        ({"magic": b"ni1"}, r"\.hdr/\.img pair"),
        ({"sizeof_hdr": 17}, "not a NIfTI"),
        ({"dim": {0: 4, 2: -7}}, "impossible size"),
        ({"vox_offset": 0}, "begin at byte 0"),
        ({"vox_offset": 1e30}, "begin at byte 1e"),
    ],
)
def test_headers_that_cannot_be(make, fields, match):
    refused(make(header=fields), match)


def test_places(tmp_path):
    refused(tmp_path / "nowhere.nii.gz", "no such file")
    (tmp_path / "annexed.nii.gz").symlink_to("../.git/annex/objects/zz/SHA.nii.gz")
    refused(tmp_path / "annexed.nii.gz", "link to nothing.*datalad get")
    refused(tmp_path, "not a file")
    (tmp_path / "text.nii.gz").write_text("hello, this is no image at all" * 20)
    refused(tmp_path / "text.nii.gz", "not a NIfTI")


def test_mask(make):
    series = read_series(make())
    inside = np.zeros((6, 7, 5))
    inside[2:4, 2:5, 1:4] = 1
    mask = read_mask(make(inside, "mask.nii.gz", dtype=np.uint8), series)
    assert mask.dtype == np.float32
    np.testing.assert_array_equal(mask, inside)
    np.testing.assert_array_equal(read_mask(make(inside * 3, "labels.nii.gz"), series), inside)
    for number, dtype in ((80, np.float32), (255, np.uint8), (2035, np.float32)):
        one = make(inside * number, "other.nii.gz", dtype=dtype)
        np.testing.assert_array_equal(read_mask(one, series), inside)
    scaled = make(inside * 4, "scaled.nii.gz", header={"scl_slope": 0.5, "scl_inter": -1})
    np.testing.assert_array_equal(read_mask(scaled, series), inside)  # labels -1 and 1
    labels = make(inside * grid(6, 7, 5) % 60, "labels.nii.gz", dtype=np.float32)
    assert set(np.unique(read_mask(labels, series))) == {0, 1}
    percent = make(inside * 80.5, "percent.nii.gz", dtype=np.float32)
    np.testing.assert_array_equal(read_mask(percent, series), inside)
    soft = read_mask(make(inside * 0.7, "soft.nii.gz", dtype=np.float32), series)
    np.testing.assert_allclose(soft, inside * 0.7, atol=5e-4)  # half precision


def test_mask_per_frame(make):
    series = read_series(make())
    inside = np.zeros((6, 7, 5, 6))
    inside[2:4, 2:5, 1:4, 1:] = 1
    mask = read_mask(make(inside, "mask.nii.gz", dtype=np.uint8), series)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, inside)


def test_masks_that_do_not_fit(make):
    series = read_series(make())
    shifted = AFFINE.copy()
    shifted[0, 3] += 1
    for data, affine, match in (
        (grid(6, 7, 6), AFFINE, "has the size 6 × 7 × 6"),
        (grid(6, 7, 5, 4), AFFINE, "has the size"),
        (grid(6, 7, 5), shifted, "elsewhere in space"),
        (np.zeros((6, 7, 5)), AFFINE, "mask is empty"),
    ):
        with pytest.raises(InputError, match=match):
            read_mask(make(data, "mask.nii.gz", affine=affine), series)
    nan = make(np.full((6, 7, 5), np.nan), "nan.nii.gz", dtype=np.float32)
    with pytest.raises(InputError, match="mask is empty where values that are NaN"):
        read_mask(nan, series)


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_an_image_is_no_mask(make, dtype):
    path = make(np.random.default_rng(0).uniform(0, 900, (12, 12, 8, 4)), dtype=dtype)
    series = read_series(path)
    with pytest.raises(InputError, match="an image, not a mask: its values reach 89"):
        read_mask(path, series)


_PEAK = """
import resource, sys
from unimo_bids.files.series import read_series
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
series = read_series(sys.argv[1])
for t in range(series.shape[3]):
    series[..., t]
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.parametrize("dtype", [np.float64, np.int16])
def test_memory_is_the_series_and_a_few_frames(make, dtype):
    data = np.broadcast_to(np.arange(48)[:, None, None, None] % 7.0, (48, 64, 40, 240))
    path = make(data, "large.nii", dtype=dtype)
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, path], check=True, capture_output=True, text=True
    )
    frame = 48 * 64 * 40 * 8
    series = data.size * min(np.dtype(dtype).itemsize, 4)  # 118 MB as float32
    # a float64 file is 236 MB; 16 MiB is what an allocator may keep
    assert int(done.stdout) < series + 8 * frame + 16 * 2**20

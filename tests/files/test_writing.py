from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from tests.files.conftest import AFFINE
from unimo_bids.files.series import read_series
from unimo_bids.files.writing import SeriesWriter, write_volume
from unimo_bids.spatial.grid import Grid


def copied(series, path, change=lambda frame: frame):
    with SeriesWriter(path, series) as writer:
        for t in range(series.shape[3]):
            writer.append(change(series[..., t]))
    return nib.load(path)


@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_unchanged_frames_stay_what_they_were(make, tmp_path, name, dtype):
    data = np.random.default_rng(1).uniform(0, 255, (6, 7, 5, 6)).astype(np.float32)
    source = make(data, dtype=dtype)
    image = copied(read_series(source), tmp_path / name)
    assert image.get_data_dtype() == dtype
    np.testing.assert_array_equal(image.dataobj, nib.load(source).dataobj)


def test_header_is_preserved(make, tmp_path):
    fields = {
        "scl_slope": 0.5,
        "scl_inter": 3,
        "descrip": b"as scanned",
        "cal_max": 700,
        "intent_code": 2001,
        "intent_name": b"time",
        "qform_code": 1,
        "sform_code": 1,
        "slice_code": 3,
        "slice_duration": 0.05,
        "slice_end": 4,
        "toffset": 1.5,
        "pixdim": {4: 800},
        "xyzt_units": 2 | 16,
        "dim_info": 57,
    }
    source = make(header=fields)
    image = copied(read_series(source), tmp_path / "out.nii.gz")
    assert image.shape == (6, 7, 5, 6)
    # byte for byte; nibabel itself rewrites some fields when it loads an image
    raw = [nib.openers.ImageOpener(p, "rb").read(348) for p in (source, tmp_path / "out.nii.gz")]
    assert raw[0] == raw[1]


def test_rounding_and_clipping_in_the_stored_type(make, tmp_path):
    source = make(dtype=np.uint8, header={"scl_slope": 0.5, "scl_inter": 10})

    def change(frame):
        frame[:3, 0, 0] = (-1000, 1000, 20.3)
        return frame

    image = copied(read_series(source), tmp_path / "out.nii.gz", change)
    np.testing.assert_array_equal(image.dataobj[:3, 0, 0, 0], [10, 10 + 255 * 0.5, 20.5])


def test_big_endian_and_extensions(make, tmp_path):
    image = nib.load(make())
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"kept"))
    image.header.extensions.append(nib.nifti1.Nifti1Extension(4, b"<AFNI_attributes/>"))
    image = nib.Nifti1Image(np.asarray(image.dataobj), AFFINE, image.header.as_byteswapped(">"))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"kept"))
    image.header.extensions.append(nib.nifti1.Nifti1Extension(4, b"<AFNI_attributes/>"))
    nib.save(image, tmp_path / "big.nii.gz")
    out = copied(read_series(tmp_path / "big.nii.gz"), tmp_path / "out.nii.gz")
    assert [extension.get_content() for extension in out.header.extensions] == [b"kept"]
    np.testing.assert_array_equal(out.dataobj, image.dataobj)
    np.testing.assert_allclose(out.affine, AFFINE, atol=1e-6)
    assert read_series(tmp_path / "out.nii.gz").warnings == ()


def test_equal_frames_give_equal_bytes(make, tmp_path):
    series = read_series(make())
    copied(series, tmp_path / "a.nii.gz")
    copied(series, tmp_path / "b.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_an_incomplete_series_is_not_left(make, tmp_path):
    series = read_series(make())
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "a.nii.gz"
    with pytest.raises(ValueError, match="1 of 6"), SeriesWriter(path, series) as writer:
        writer.append(series[..., 0])
    with pytest.raises(KeyboardInterrupt), SeriesWriter(path, series) as writer:
        writer.append(series[..., 0])
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="in a series of"), SeriesWriter(path, series) as writer:
        writer.append(np.zeros((2, 2, 2)))
    assert not any((tmp_path / "out").iterdir())


def test_volume_on_the_grid_of_a_series(make, tmp_path):
    series = read_series(make(header={"scl_slope": 0.5, "scl_inter": 3, "cal_max": 7}))
    volume = np.random.default_rng(0).standard_normal((6, 7, 5)).astype(np.float32)
    write_volume(tmp_path / "map.nii.gz", volume, series)
    image = nib.load(tmp_path / "map.nii.gz")
    np.testing.assert_array_equal(image.dataobj, volume)
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-6)
    assert image.shape == (6, 7, 5) and image.header["cal_max"] == 0


def test_another_grid_in_the_same_space(make, tmp_path):
    series = read_series(make(header={"qform_code": 2, "sform_code": 4}))
    turned = np.array([[0, -2, 0, 30], [2, 0, 0, -5], [0, 0, 2.5, 8], [0, 0, 0, 1.0]])
    onto = Grid.of((4, 9, 5), turned)
    with SeriesWriter(tmp_path / "series.nii.gz", series, onto) as writer:
        for _ in range(series.shape[3]):
            writer.append(np.ones(onto.shape, dtype=np.float32))
    write_volume(tmp_path / "volume.nii.gz", np.ones(onto.shape, dtype=np.float32), series, onto)
    for name, shape in (("series", (*onto.shape, series.shape[3])), ("volume", onto.shape)):
        image = nib.load(tmp_path / f"{name}.nii.gz")
        assert image.shape == shape
        np.testing.assert_allclose(image.affine, turned, atol=1e-5)
        np.testing.assert_allclose(image.get_qform(), turned, atol=1e-5)
        assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (4, 4)

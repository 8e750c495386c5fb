"""A series that was kept for later steps is the series that was read."""

from __future__ import annotations

import resource

import nibabel as nib
import numpy as np
import pytest

from unimo_bids.errors import MachineError
from unimo_bids.files.mapped import keep_series, open_series
from unimo_bids.files.series import read_series, timed
from unimo_bids.files.writing import SeriesWriter


@pytest.fixture(params=["int16 scaled", "big-endian", "float64 with gaps"])
def raw(request, tmp_path):
    """A file of another kind, with an extension, and its values as nibabel has them."""
    values = np.random.default_rng(2).uniform(0, 900, (6, 7, 5, 6))
    path = tmp_path / "bold.nii.gz"
    if request.param == "float64 with gaps":
        values[1, 2, 3, 4] = np.nan
        image = nib.Nifti1Image(values, np.diag([3, 3, 4, 1.0]))
    else:
        order = ">" if request.param == "big-endian" else "<"
        header = nib.Nifti1Header(endianness=order)
        header.set_data_dtype(np.dtype(f"{order}i2"))
        image = nib.Nifti1Image(np.rint(values).astype(f"{order}i2"), None, header)
        if request.param == "int16 scaled":
            image.header.set_slope_inter(0.5, 10)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"kept"))
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 1.5
    image.header.set_dim_info(slice=1)
    nib.save(image, path)
    return path


def test_all_of_it_comes_back(raw, tmp_path):
    series = read_series(raw)
    found = open_series(keep_series(tmp_path / "echo-0.series", series))
    theirs = np.nan_to_num(nib.load(raw).get_fdata())
    for t in range(6):
        np.testing.assert_allclose(found[..., t], theirs[..., t], rtol=1e-6)
    for t in range(6):
        np.testing.assert_array_equal(found.frame(t), series.frame(t))
    assert found.data.dtype == series.data.dtype
    assert series.slice_axis == nib.load(raw).header.get_dim_info()[2] == 1
    for name in ("repetition_time", "warnings", "path", "slope", "intercept", "empty_frames",
                 "slice_axis"):  # fmt: skip
        assert getattr(found, name) == getattr(series, name)
    np.testing.assert_array_equal(found.affine, series.affine)
    assert found.header == series.header


def test_what_is_written_like_it_is_the_same(raw, tmp_path):
    series = read_series(raw)
    keep_series(tmp_path / "echo-0.series", series)
    for name, like in (("a", series), ("b", open_series(tmp_path / "echo-0.series"))):
        with SeriesWriter(tmp_path / f"{name}.nii", timed(like, 2.5)) as writer:
            for t in range(6):
                writer.append(like.frame(t))
    assert (tmp_path / "a.nii").read_bytes() == (tmp_path / "b.nii").read_bytes()
    assert b"kept" in (tmp_path / "b.nii").read_bytes()


def test_an_image_is_read_as_always(raw):
    np.testing.assert_array_equal(open_series(raw).data, read_series(raw).data)


def test_a_file_cut_short_is_no_traceback(raw, tmp_path):
    path = keep_series(tmp_path / "echo-0.series", read_series(raw))
    whole = path.read_bytes()
    for length in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(MachineError, match="damaged or missing"):
            open_series(path)


def test_a_file_that_may_not_grow_is_said_and_not_left(raw, tmp_path):
    series = read_series(raw)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(MachineError, match="allowed"):
            keep_series(tmp_path / "echo-0.series", series)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == [raw]

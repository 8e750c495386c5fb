"""Geometry and time as headers give them: believed, repaired or refused."""

from __future__ import annotations

import re

import nibabel as nib
import numpy as np
import pytest

from tests.files.conftest import AFFINE
from unimo_bids.errors import InputError
from unimo_bids.files.reopening import check_image
from unimo_bids.files.series import read_series
from unimo_bids.files.writing import SeriesWriter, write_volume


def about(series, word):
    return [warning for warning in series.warnings if word in warning]


def test_zero_zooms_with_a_good_sform(make):
    series = read_series(make(header={"pixdim": {1: 0, 2: 0, 3: 0}}))
    np.testing.assert_allclose(series.affine, AFFINE, atol=1e-6)
    assert about(series, "0 × 0 × 0 mm; the sform's are used")
    # what is written from it carries the true sizes
    np.testing.assert_allclose(series.header["pixdim"][1:4], [3, 2.9, 3.9], rtol=1e-6)


@pytest.mark.parametrize("size", [0, np.nan, np.inf])
def test_zero_zooms_without_an_affine(make, size):
    with pytest.raises(InputError, match="gives voxels of"):
        read_series(make(header={"pixdim": {2: size}, "sform_code": 0, "qform_code": 1}))


def test_negative_zooms(make):
    series = read_series(make(header={"pixdim": {2: -2.9}}))
    np.testing.assert_allclose(series.affine, AFFINE, atol=1e-6)
    assert about(series, "-2.9")
    alone = read_series(make(header={"pixdim": {2: -2.9}, "sform_code": 0, "qform_code": 1}))
    assert about(alone, "sign is ignored")
    np.testing.assert_allclose(alone.affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("scale", [30, 0.01])
def test_sizes_beyond_reason(make, scale):
    affine = AFFINE @ np.diag([scale, scale, scale, 1])
    with pytest.raises(InputError, match="xyzt_units"):
        read_series(make(affine=affine))


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1e-3), ("micron", 1e3)])
def test_other_units_are_converted(make, unit, factor):
    code = {"meter": 1, "micron": 3}[unit]
    scaled = np.diag([factor, factor, factor, 1]) @ AFFINE
    series = read_series(make(affine=scaled, header={"xyzt_units": code | 8}))
    np.testing.assert_allclose(series.affine, AFFINE, rtol=1e-5)
    assert about(series, "converted to millimetres")
    assert series.header.get_xyzt_units() == ("mm", "sec")
    np.testing.assert_allclose(series.header.get_sform(), AFFINE, rtol=1e-5)


def test_singular_affines(make):
    with pytest.raises(InputError, match="singular"):
        read_series(make(header={"srow_x": [0, 0, 0, 0]}))
    with pytest.raises(InputError, match="singular"):
        read_series(make(header={"srow_x": [np.nan, 0, 0, 0]}))
    series = read_series(make(header={"srow_x": [0, 0, 0, 0], "qform_code": 1}))
    assert about(series, "the qform is used")
    np.testing.assert_allclose(series.header.get_sform(), series.affine, atol=1e-5)


def test_sform_against_qform(make):
    agreeing = read_series(make(header={"qform_code": 1}))
    assert agreeing.warnings == ()
    series = read_series(make(header={"qform_code": 1, "qoffset_x": 20}))
    np.testing.assert_allclose(series.affine, AFFINE, atol=1e-6)
    assert about(series, "disagree")
    np.testing.assert_allclose(series.header.get_qform(), AFFINE, atol=1e-4)
    unset = read_series(make(header={"qform_code": 1, "qoffset_x": 20, "sform_code": 0}))
    assert unset.affine[0, 3] == 20 and not about(unset, "disagree")


def test_no_orientation_at_all(make):
    series = read_series(make(header={"sform_code": 0, "qform_code": 0}))
    assert about(series, "no orientation")
    np.testing.assert_allclose(
        series.affine @ [2.5, 3, 2, 1], [0, 0, 0, 1], atol=1e-5
    )  # middle of 6 × 7 × 5


@pytest.mark.parametrize(
    ("stored", "unit", "seconds", "warned"),
    [
        (2.0, 8, 2.0, False),
        (800, 16, 0.8, False),
        (1_500_000, 24, 1.5, False),
        (1.0, 0, None, True),  # what nibabel writes by itself
        (2000, 8, 2.0, True),
        (0, 8, None, True),
        (np.nan, 8, None, True),
    ],
)
def test_repetition_time(make, stored, unit, seconds, warned):
    series = read_series(make(header={"pixdim": {4: stored}, "xyzt_units": 2 | unit}))
    assert series.repetition_time == (None if seconds is None else pytest.approx(seconds))
    assert bool(about(series, "repetition time")) == warned
    np.testing.assert_equal(float(series.header["pixdim"][4]), stored)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scl_inter": np.inf}, "intercept is inf; it is taken as 0"),
        ({"scl_slope": 0.5, "scl_inter": np.nan}, "intercept is nan; it is taken as 0"),
        ({"scl_slope": np.inf}, "slope is inf; values are taken as they are stored"),
        ({"magic": b"n+1\xf9"}, "magic number is"),
        ({"xyzt_units": 2 | 56}, "code of units is 58; taken as 2"),
        ({"qform_code": 99, "pixdim": {1: 2.5}}, "qform code is 99, .* 2 .aligned."),
        ({"qform_code": -3}, "qform code is -3, .* not used"),
        ({"qform_code": 1, "quatern_b": 7}, "qform is unusable; the sform is used"),
        ({"qform_code": 1, "qoffset_x": np.nan}, "qform is unusable; the sform is used"),
        ({"qform_code": 1, "srow_x": [-3, 0, 0, 1e30]}, "sform is unusable; the qform is used"),
    ],
)
def test_what_would_spoil_the_outputs_is_mended(make, tmp_path, fields, said):
    path = make(header=fields)
    series = read_series(path)
    assert [one for one in series.warnings if re.search(said, one)], series.warnings
    with SeriesWriter(tmp_path / "series.nii.gz", series) as writer:
        for t in range(series.shape[3]):
            writer.append(series[..., t])
    write_volume(tmp_path / "volume.nii.gz", series[..., 0], series)
    for name in ("series.nii.gz", "volume.nii.gz"):
        check_image(tmp_path / name)
        image = nib.load(tmp_path / name)
        np.testing.assert_allclose(image.affine, series.affine, atol=1e-4)
    np.testing.assert_allclose(nib.load(tmp_path / "series.nii.gz").dataobj[..., 3], series[..., 3])
    assert not [
        one for one in read_series(tmp_path / "series.nii.gz").warnings if "slab" not in one
    ]


def test_an_origin_beyond_everything_is_refused(make):
    with pytest.raises(InputError, match="singular, or its origin too far away"):
        read_series(make(header={"srow_x": [-3, 0, 0, 1e30]}))
    assert read_series(make(header={"srow_x": [-3, 0, 0, 1e8]})).affine[0, 3] == 1e8

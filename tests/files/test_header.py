"""Geometry and time as headers give them: believed, repaired or refused."""

from __future__ import annotations

import numpy as np
import pytest

from tests.files.conftest import AFFINE
from unimo_bids.errors import InputError
from unimo_bids.files.series import read_series


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


def test_a_unit_that_cannot_be_meant(make):
    series = read_series(make(header={"xyzt_units": 1 | 8}))
    np.testing.assert_allclose(series.affine, AFFINE, atol=1e-6)
    assert about(series, "taken as such")


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
        (2.0, 0, 2.0, False),
        (1.0, 8, 1.0, False),
        (1.0, 0, None, True),  # what nibabel writes by itself
        (2000, 8, 2.0, True),
        (0, 8, None, True),
        (-2, 8, None, True),
        (np.nan, 8, None, True),
    ],
)
def test_repetition_time(make, stored, unit, seconds, warned):
    series = read_series(make(header={"pixdim": {4: stored}, "xyzt_units": 2 | unit}))
    assert series.repetition_time == (None if seconds is None else pytest.approx(seconds))
    assert bool(about(series, "repetition time")) == warned
    np.testing.assert_equal(float(series.header["pixdim"][4]), stored)

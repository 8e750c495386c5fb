"""Images that were written are opened again."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from unimo_bids.errors import MachineError
from unimo_bids.files.reopening import check_image


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_a_sound_image_passes(make, name, dtype):
    check_image(make(name=name, dtype=dtype))
    check_image(make(name=name, dtype=dtype, header={"scl_slope": 0.5, "scl_inter": -7}))


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"scl_slope": 1, "scl_inter": np.inf}, "intercept"),
        ({"magic": b"n+1\xf9"}, "ImageFileError"),
        ({"srow_x": [np.nan, 0, 0, 0]}, "not finite"),
        ({"dim": {4: 7}}, "cut short"),
        ({"dim": {4: 5}}, "too long"),
        ({"datatype": 999}, "HeaderDataError"),
    ],
)
def test_headers_that_nobody_can_use(make, tmp_path, fields, fault):
    with pytest.raises(MachineError, match=fault) as refusal:
        check_image(make(header=fields), tmp_path / "final.nii.gz")
    assert str(refusal.value).startswith(f"{tmp_path / 'final.nii.gz'}: it was written and")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(make, value):
    data = np.ones((6, 7, 5, 6))
    data[5, 6, 4, 5] = value
    with pytest.raises(MachineError, match="not all of its values are finite"):
        check_image(make(data, dtype=np.float32))


def test_damaged_bytes(make):
    path = make()
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 255
    path.write_bytes(bytes(raw))
    with pytest.raises(MachineError):
        check_image(path)
    path = make(name="b.nii.gz")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-1]))
    with pytest.raises(MachineError, match="cut short"):
        check_image(path)

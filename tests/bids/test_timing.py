from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from tests.bids.layouts import image, write
from unimo_bids.bids.timing import timing_of


@pytest.fixture
def bold(tmp_path):
    return image(tmp_path / "bold.nii.gz", frames=4, tr=2.0)


def test_sidecar_and_header_agree(bold):
    timing = timing_of(bold, {"RepetitionTime": 2.0004})  # as a header may round
    assert (timing.repetition_time, timing.volume_timing, timing.warnings) == (2.0004, None, ())


@pytest.mark.parametrize(
    ("metadata", "expected", "warning"),
    [
        ({"RepetitionTime": 2.5}, 2.5, "2.5 s in the sidecar and 2 s in the header"),
        ({}, 2.0, "No sidecar gives a repetition time; the header's, 2 s"),
        ({"RepetitionTime": 2000}, 2.0, "milliseconds"),
        ({"RepetitionTime": "2"}, 2.0, "no time; it is not used"),
        ({"RepetitionTime": 2, "VolumeTiming": [0, 2, 4, 6]}, 2.0, "the former is used"),
        ({"VolumeTiming": [0, 2, 4]}, 2.0, "3 times for 4 frames"),
        ({"VolumeTiming": [0, 2, 2, 6]}, 2.0, "does not increase"),
    ],
)
def test_doubts_are_warned_of(bold, metadata, expected, warning):
    timing = timing_of(bold, metadata)
    assert timing.repetition_time == expected and timing.volume_timing is None
    assert warning in " ".join(timing.warnings)


def test_uneven_frames(bold):
    timing = timing_of(bold, {"VolumeTiming": [0, 2, 5, 7.5]})
    assert timing.volume_timing == (0, 2, 5, 7.5)
    assert timing.repetition_time is None and timing.warnings == ()


def test_nobody_knows(tmp_path):
    silent = image(tmp_path / "silent.nii", tr=0.0)
    for path in (silent, write(tmp_path / "broken.nii.gz", "no image"), tmp_path / "absent.nii"):
        timing = timing_of(path, {})
        assert timing.repetition_time is None and "Neither" in timing.warnings[0]
        assert timing_of(path, {"RepetitionTime": 3}).repetition_time == 3


def test_what_nibabel_writes_by_itself_is_no_time(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 5), np.int16), np.eye(4)), tmp_path / "bold.nii")
    timing = timing_of(tmp_path / "bold.nii", {})
    assert timing.repetition_time is None and "Neither" in timing.warnings[0]
    assert timing_of(tmp_path / "bold.nii", {"RepetitionTime": 1}).repetition_time == 1

"""Motion of an earlier call: taken where it is whole, and refused where it says too little."""

from __future__ import annotations

import json

import pytest

from unimo_bids.bids.motion import find_motion
from unimo_bids.bids.names import run_names, sidecar
from unimo_bids.errors import InputError

RUN = {"sub": "01", "task": "rest"}
ABOUT = {"ReferenceFrame": 3, "Center": [1.0, 2.0, 3.0], "Radius": 40.0, "Mode": "plain"}


@pytest.fixture
def before(tmp_path):
    names = run_names(RUN)
    for name in names.all:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    about = tmp_path / sidecar(names.transforms)
    about.write_text(json.dumps({**ABOUT, "Findings": []}))
    return tmp_path


def test_the_first_dataset_that_has_all_of_it_wins(before, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    found, _ = find_motion(RUN, (), {"empty": empty, "before": before})
    assert found.transforms == before / run_names(RUN).transforms
    assert found.about["ReferenceFrame"] == 3
    assert find_motion({**RUN, "run": "1"}, (), {"before": before}) == (None, ())
    (before / run_names(RUN).brain).unlink()
    assert find_motion(RUN, (), {"before": before}) == (None, ())


def test_one_pose_a_frame_is_not_taken_for_a_way_through_slices(before):
    (before / run_names(RUN).slices).touch()
    found, (warning,) = find_motion(RUN, (), {"before": before})
    assert found is None
    assert "its frames were made from slices" in warning


def test_poses_under_a_field_are_not_taken_for_rigid_motion(before):
    (before / run_names(RUN).distortion).touch()
    found, (warning,) = find_motion(RUN, (), {"before": before})
    assert found is None
    assert "under a distortion field" in warning


def test_transforms_relative_to_nobody_knows_what_are_refused(before):
    (before / sidecar(run_names(RUN).transforms)).write_text(json.dumps(ABOUT))
    with pytest.raises(InputError, match=r"_xfm\.json: it does not say how .*'Findings'"):
        find_motion(RUN, (), {"before": before})

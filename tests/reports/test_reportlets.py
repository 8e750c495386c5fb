from __future__ import annotations

import pytest

from unimo_bids.errors import InputError
from unimo_bids.reports.reportlets import find_reportlets, reportlet, run_order


def test_names_are_found_again(tmp_path):
    path = reportlet(tmp_path, "sub-01_ses-1_task-rest_run-2", "movie", "json")
    assert path.name == "sub-01_ses-1_task-rest_run-2_desc-movie_bold.json"
    path.touch()
    (tmp_path / "sub-01_desc-movie_bold.exe").touch()
    (tmp_path / "other.svg").touch()
    assert find_reportlets(tmp_path) == {"sub-01_ses-1_task-rest_run-2": {"movie.json": path}}


@pytest.mark.parametrize("entities", ["", "x", "sub-01/x", "sub-01_\n"])
def test_no_other_names(tmp_path, entities):
    with pytest.raises(InputError):
        reportlet(tmp_path, entities, "movie", "json")


def test_runs_are_ordered_as_people_count():
    names = [
        "sub-01_task-rest",
        "sub-01_ses-2_task-a_run-9",
        "sub-01_ses-2_task-a_run-10",
        "sub-01_ses-2_task-b_acq-x_run-1",
        "sub-01_ses-10_task-a",
    ]
    shuffled = [names[place] for place in (3, 1, 4, 2, 0)]
    assert sorted(shuffled, key=run_order) == names

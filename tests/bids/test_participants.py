from __future__ import annotations

import pytest

from tests.bids.layouts import write
from unimo_bids.bids.participants import gestational_weeks, population_of


def judged(folder, column, value, about=None):
    write(folder / "participants.tsv", f"participant_id\t{column}\nsub-00\t1\nsub-01\t{value}\n")
    if about is not None:
        write(folder / "participants.json", {column: about})
    return population_of(folder, "01")


@pytest.mark.parametrize(
    ("column", "value", "about", "expected"),
    [
        ("gestational_age", "24.3", None, "fetal"),
        ("GA", "24+3", None, "fetal"),
        ("gestational_age", "170", {"Units": "days"}, "fetal"),
        ("age", "24", {"Units": "weeks", "Description": "gestational age at scan"}, "fetal"),
        ("gestational_age", "70", None, None),  # longer than a pregnancy
        ("gestational_age", "38", {"Description": "gestational age at birth"}, None),
        ("age", "24", {"Units": "weeks"}, None),  # from when?
        ("age", "30", None, "adult"),
        ("age", "0.5", None, "infant"),
        ("age", "6", {"Units": "months"}, "infant"),
        ("age", "60", {"Units": "weeks"}, "infant"),
        ("age", "700", None, None),  # not in years
        ("postmenstrual_age", "41", None, "infant"),
        ("group", "Fetus", None, "fetal"),
        ("age", "n/a", None, None),
        ("sex", "F", None, None),
    ],
)
def test_populations(tmp_path, column, value, about, expected):
    population, reason = judged(tmp_path, column, value, about)
    assert population == expected
    if expected:
        assert f"participants.tsv: {column} {value}" in reason


@pytest.mark.parametrize(
    ("ages", "expected"),
    [
        ("24\t24", None),  # mother of 24 years? unborn of 24 weeks?
        ("24\tn/a", "fetal"),
        ("38\t0.1", "infant"),
    ],
)
def test_two_ages(tmp_path, ages, expected):
    table = f"participant_id\tgestational_age\tage\nsub-01\t{ages}\n"
    write(tmp_path / "participants.tsv", table)
    population, reason = population_of(tmp_path, "01")
    assert population == expected
    assert expected or "mother" in reason


def test_one_age_twice(tmp_path):
    table = "participant_id\tgestational_age\tage\nsub-01\t24.2\t24\n"
    write(tmp_path / "participants.tsv", table)
    write(tmp_path / "participants.json", {"age": {"Units": "weeks"}})
    assert population_of(tmp_path, "01")[0] == "fetal"


def test_the_session_is_asked_first(tmp_path):
    judged(tmp_path, "age", "30")
    table = "session_id\tgestational_age\nses-1\t25\nses-2\tn/a\n"
    write(tmp_path / "sub-01" / "sub-01_sessions.tsv", table)
    assert population_of(tmp_path, "01", "1") == (
        "fetal",
        "sub-01_sessions.tsv: gestational_age 25 (weeks)",
    )
    assert population_of(tmp_path, "01", "2")[0] == "adult"
    assert population_of(tmp_path, "01")[0] == "adult"
    write(tmp_path / "sub-01" / "sub-01_sessions.json", {"gestational_age": {"Units": "days"}})
    assert population_of(tmp_path, "01", "1")[0] == "fetal"  # young, but no pregnancy's end


@pytest.mark.parametrize(
    "table", ["", "participant_id\n", "participant_id\tage\nsub-02\t3\n", "\0"]
)
def test_tables_that_say_nothing(tmp_path, table):
    assert population_of(tmp_path, "01") == (None, "no table gives an age")
    write(tmp_path / "participants.tsv", table)
    assert population_of(tmp_path, "01") == (None, "no table gives an age")


@pytest.mark.parametrize(
    ("column", "value", "weeks"),
    [("gestational_age", "24+3", 24 + 3 / 7), ("ga_days", "170", 170 / 7), ("age", "30", None)],
)
def test_weeks_of_pregnancy(tmp_path, column, value, weeks):
    judged(tmp_path, column, value)
    assert gestational_weeks(tmp_path, "01") == pytest.approx(weeks)

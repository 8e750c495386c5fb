"""The page is made from the results; results are read, written and taken over."""

import json
import re
from dataclasses import replace
from decimal import Decimal

import pytest

from benchmarks import outside, thresholds
from benchmarks.page import PAGE, render
from benchmarks.results import FOLDER, Figure, Result, read_result, write_result
from benchmarks.taking import take
from tests.benchmarks.test_table import record

RESULT = Result(
    title="A title",
    date="2026-01-02",
    commit="abc",
    machine="one",
    commands=("python -m benchmarks run",),
    about="What it is.",
    notes="",
    figures=(Figure("error", Decimal("0.20"), "mm", at_most=Decimal("0.10")),),
    columns=("run", "mm"),
    rows=(("a", "0.20"),),
)
ROW = {
    "name": "sub-still",
    "mode": "plain",
    "status": {"ok": 3},
    "fd": 0.12,
    "sd": [2.0, 1.0],
    "cpu": 3.0,
    "zero": [0.1, 0.2],
    "error": [0.1, 0.2],
    "far": 1,
    "scored": 3,
    "cover": [0.954, 1.0],
}


def test_the_committed_page_is_what_the_command_makes():
    assert PAGE.read_text(encoding="utf-8") == render(), "python -m benchmarks page"


def test_every_threshold_says_where_it_comes_from():
    assert thresholds.PAGE.read_text("utf-8") == thresholds.render(), "python -m benchmarks page"


def test_titles_are_alike_nowhere():
    titles = re.findall(r"^#+ (.*)$", render(), re.MULTILINE)
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_results_are_written_as_they_were_read(path, tmp_path):
    write_result(tmp_path / "again.json", read_result(path))
    assert (tmp_path / "again.json").read_text("utf-8") == path.read_text("utf-8")


def test_what_misses_comes_first(tmp_path):
    met = Figure("found", 19, of=20, at_least=95)
    write_result(tmp_path / "series-a.json", replace(RESULT, title="Good", figures=(met,)))
    write_result(tmp_path / "time-b.json", RESULT)
    lines = render(tmp_path).splitlines()
    targets = [line for line in lines if line.startswith(("| met", "| **missed"))]
    assert targets == [
        "| **missed** | [A title](#a-title) | error | 0.20 mm | ≤ 0.10 mm | 2026-01-02 |",
        "| met | [Good](#good) | found | 19 of 20 | ≥ 95 % | 2026-01-02 |",
    ]
    assert "Missed: 1 of 2." in lines


def test_names_and_fields_are_checked(tmp_path):
    path = tmp_path / "other.json"
    write_result(path, RESULT)
    with pytest.raises(ValueError, match="begin with one of series"):
        render(tmp_path)
    write_result(path, replace(RESULT, rows=(("a",),)))
    with pytest.raises(ValueError, match="as many cells"):
        read_result(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"other\.json: not a result"):
        read_result(path)


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    for name in ("series-simulated", "series-outside", "brain-adult"):
        write_result(folder / f"{name}.json", replace(RESULT, columns=("run", name), rows=()))
    return folder


def test_records_of_run_are_taken(results, tmp_path):
    more = {"command": "python -m benchmarks run --out /there --seed 0"}
    (tmp_path / "simpleitk_still_mask-none_seed0.json").write_text(json.dumps(record(**more)))
    assert take(tmp_path, results) == ["series-simulated.json"]
    taken = read_result(results / "series-simulated.json")
    assert taken.title == RESULT.title
    assert taken.commands == ("python -m benchmarks run --seed 0",)
    assert (taken.date, taken.commit) == ("2026-01-01", "abc")
    assert taken.machine == "one, 2 cores, 8.0 GiB; threads: 2; simpleitk 1.0"
    assert taken.rows[0][:3] == ("still", "simpleitk", "0.20 / 0.29 (0%)")


def test_records_of_outside_are_taken_with_their_figures(results, tmp_path):
    row = ROW | {k: v for k, v in record().items() if k in ("date", "command", "machine")}
    row |= {"versions": {"commit": "def"}, "threads": 1}
    (tmp_path / "sub-still.json").write_text(json.dumps(row))
    assert take(tmp_path, results) == ["series-outside.json"]
    taken = read_result(results / "series-outside.json")
    assert taken.columns == outside.COLUMNS
    assert {figure.what: figure.met for figure in taken.figures} == {
        "series with an SD over time 1 % above the raw one": True,
        "frames more than 2 mm off and not flagged": False,
        "95 % intervals, lowest share that holds": True,
        "95 % intervals, highest share that holds": False,
    }


def test_printed_tables_are_taken_where_the_columns_are_known(results, tmp_path):
    printed = tmp_path / "printed.txt"
    table = "| run | brain-adult |\n| --- | --- |\n"
    printed.write_text(f"said\n{table}| a | 1 |\n\n{table}| b | |\n\n| x |\n| --- |\n| y |\n")
    assert take(printed, results) == ["brain-adult.json"]
    assert read_result(results / "brain-adult.json").rows == (("a", "1"), ("b", ""))

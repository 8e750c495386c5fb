from __future__ import annotations

import csv
import json

import html5lib
import pytest

from tests.reports.conftest import make_record
from unimo_bids.reports.group import write_group_report
from unimo_bids.reports.reportlets import anchor, reportlet
from unimo_bids.reports.summary import COLUMNS, write_summary


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def parsed(path):
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    return parser.parse(path.read_text(encoding="utf-8"))


def add_run(root, entities, **numbers):
    figures = root / entities.partition("_")[0] / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    content = {"entities": entities, "facts": {}, "warnings": [], "numbers": numbers}
    reportlet(figures, entities, "summary", "json").write_text(json.dumps(content))


def test_a_row_for_each_run_in_order(derivatives):
    table, page = write_group_report(derivatives)
    rows = read(table)
    assert [row["run"] for row in rows] == [
        "sub-01_ses-1_task-rest",
        "sub-01_ses-2_task-rest_run-9",
        "sub-01_ses-2_task-rest_run-10",
        "sub-02_task-rest",
    ]
    assert list(rows[0]) == ["run", "participant_id", *(column.name for column in COLUMNS)]
    assert rows[0]["fd_mean"] == "1.75" and rows[0]["fd_median"] == "n/a"
    assert rows[0]["frames"] == "12" and rows[3]["participant_id"] == "sub-02"
    links = [link.get("href") for link in parsed(page).iter("a") if link.get("class") != "skip"]
    assert links[3] == "sub-02.html#sub-02_task-rest"
    # the address leads somewhere
    assert anchor("sub-02_task-rest") == "sub-02_task-rest"


def test_none_one_many(tmp_path):
    _, page = write_group_report(tmp_path)
    assert "0 runs of 0 participants" in "".join(parsed(page).itertext())
    add_run(tmp_path, "sub-01_task-rest", fd_mean=0.2)
    _, page = write_group_report(tmp_path)
    assert "1 run of 1 participant" in "".join(parsed(page).itertext())
    for number in range(2000):
        add_run(tmp_path, f"sub-{number:04d}_task-rest", fd_mean=number / 1000, tsnr_gain=2)
    table, page = write_group_report(tmp_path)
    assert len(read(table)) == 2001 and page.stat().st_size < 3e6


def test_what_is_no_number_is_not_shown(tmp_path):
    add_run(tmp_path, "sub-01_task-rest", fd_mean="<b>", tsnr_gain=True, lost=[1], fd_max=3)
    (row,) = read(write_group_report(tmp_path)[0])
    assert [row[name] for name in ("fd_mean", "tsnr_gain", "lost", "fd_max")] == ["n/a"] * 3 + ["3"]


@pytest.mark.parametrize("task", ["<img src=x onerror=alert(1)>", "a\tb", "#?&'\""])
def test_names_are_text(tmp_path, task):
    entities = f"sub-01_task-{task}"
    add_run(tmp_path, entities, fd_mean=0.2)
    table, path = write_group_report(tmp_path)
    assert read(table)[0]["run"] == " ".join(entities.split())
    page = parsed(path)
    assert not list(page.iter("img"))
    link = next(link for link in page.iter("a") if link.get("class") != "skip")
    assert link.text == entities
    assert link.get("href") == f"sub-01.html#{anchor(entities)}"
    assert json.loads(page.find(".//script[@id='runs']").text)[0]["name"] == entities


def test_summaries_are_written_as_they_are_read(tmp_path, record):
    (tmp_path / "sub-01" / "figures").mkdir(parents=True)
    path = reportlet(tmp_path / "sub-01" / "figures", record.entities, "summary", "json")
    write_summary(path, make_record(tmp_path / "data"))
    assert read(write_group_report(tmp_path)[0])[0]["tsnr_gain"] == "2"

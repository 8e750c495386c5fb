from __future__ import annotations

import csv
import json

import html5lib
import pytest

from unimo_bids.reports.group import write_group_report
from unimo_bids.reports.reportlets import anchor, reportlet
from unimo_bids.reports.summary import COLUMNS


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

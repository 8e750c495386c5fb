from __future__ import annotations

import json
import re
from pathlib import Path

import html5lib
import numpy as np
import pytest
from scipy import ndimage

from tests.reports.conftest import DRAWN, make_record
from unimo_bids.errors import InputError
from unimo_bids.reports.crashes import CrashReport
from unimo_bids.reports.drawing import draw_run
from unimo_bids.reports.group import write_group_report
from unimo_bids.reports.participant import write_participant_report
from unimo_bids.reports.reportlets import reportlet
from unimo_bids.reports.summary import write_summary

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'</script>"


def write(root, participant="sub-01", **given):
    given = {"about": {"Version": "1.0"}, "methods": "# Method\n\nIt was *done*."} | given
    return write_participant_report(root, participant, **given)


def parsed(path):
    """Parse strictly: html5lib raises at the first error in the HTML."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    return parser.parse(path.read_text(encoding="utf-8"))


def test_runs_in_order_each_with_all_its_sections(derivatives):
    path = write(derivatives)
    assert path == derivatives / "sub-01.html"
    page = parsed(path)
    runs = [section.get("id") for section in page.iter("section") if section.get("class") == "run"]
    assert runs == [
        "sub-01_ses-1_task-rest",
        "sub-01_ses-2_task-rest_run-9",
        "sub-01_ses-2_task-rest_run-10",
    ]
    ids = [element.get("id") for element in page.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for run in runs:
        assert [f"{run}-{section.what}" for section in DRAWN] == [
            place for place in ids if place.startswith(f"{run}-")
        ]
    links = {link.get("href") for link in page.iter("a")}
    assert all(link[1:] in ids for link in links), links
    tiles = ["".join(tile.itertext()).split() for tile in page.findall(".//dl[@class='tiles']/div")]
    assert tiles[2][-4:] == ["corrected16.7", "·", "8.3", "%"]
    assert {f"#{place}" for place in ids} >= {"#overview", "#about", "#methods", "#errors"}


@pytest.fixture
def sessions(tmp_path):
    """Runs of three sessions, and one without: summaries are enough."""
    record = make_record(tmp_path / "data")
    figures = tmp_path / "sub-01" / "figures"
    figures.mkdir(parents=True)
    for name in (
        "ses-a_task-rest_run-1",
        "ses-a_task-rest_run-2",
        "ses-b_task-rest",
        "ses-c_task-x",
    ):
        write_summary(reportlet(figures, f"sub-01_{name}", "summary", "json"), record)
    write_summary(reportlet(figures, "sub-01_task-y", "summary", "json"), record)
    return tmp_path


def sections(page):
    return [one.get("id") for one in parsed(page).iter("section") if one.get("class") == "run"]


def test_many_sessions_have_pages_of_their_own(sessions):
    crash = CrashReport(sessions / "crash.txt", "sub_01_wf.ses_d_task_x_wf.n", "no head", "no head")
    page = write(sessions, most_sessions=3, errors=[crash])
    pages = {path.name: path for path in sessions.glob("*.html")}
    assert sorted(pages) == ["sub-01.html", *(f"sub-01_ses-{label}.html" for label in "abcd")]
    assert sections(page) == ["sub-01_task-y"]
    assert sections(pages["sub-01_ses-a.html"]) == [
        f"sub-01_ses-a_task-rest_run-{number}" for number in (1, 2)
    ]
    assert "no head" in pages["sub-01_ses-d.html"].read_text()
    # every address leads somewhere, from each page to the others
    for path in pages.values():
        for link in parsed(path).iter("a"):
            name, _, place = link.get("href").partition("#")
            target = pages[name] if name else path
            ids = {element.get("id") for element in parsed(target).iter()}
            assert not place or place in ids, (path.name, link.get("href"))
    rows = [link.get("href") for link in parsed(page).find(".//table").iter("a")]
    assert rows[1] == "sub-01_ses-a.html#sub-01_ses-a_task-rest_run-1" and len(rows) == 6
    group = parsed(write_group_report(sessions)[1])
    assert rows[1] in [link.get("href") for link in group.iter("a")]


def test_few_sessions_share_a_page_and_those_of_earlier_calls_go(sessions):
    write(sessions, most_sessions=2)
    (sessions / "sub-011_ses-a.html").touch()
    page = write(sessions, most_sessions=3)
    assert len(sections(page)) == 5
    assert sorted(path.name for path in sessions.glob("*.html")) == [
        "sub-01.html", "sub-011_ses-a.html",
    ]  # fmt: skip
    group = write_group_report(sessions)[1].read_text()
    assert "sub-01.html#sub-01_ses-a_task-rest_run-1" in group


@pytest.mark.slow
def test_a_run_takes_a_megabyte_at_most(tmp_path):
    # noise, which nothing compresses well, in as many frames and voxels as large studies have
    rng, frames = np.random.default_rng(0), 1200
    names = ("fd_before", "fd_after", "similarity_before", "similarity_after")
    traces = {name: rng.uniform(0, 0.6, frames) for name in names}
    drift = ndimage.gaussian_filter1d(rng.normal(size=(frames, 6)).cumsum(axis=0), 8, axis=0)
    traces["parameters"] = drift + rng.normal(0, 0.02, drift.shape)
    traces["poses"] = np.tile(np.eye(4), (frames, 1, 1))
    traces["poses"][:, :3, 3] = traces["parameters"][:, :3]
    record = make_record(tmp_path / "a", frames=frames, shape=(28, 22, 24), **traces)
    draw_run(record, tmp_path / "sub-01" / "figures")
    long = write(tmp_path).stat().st_size
    record = make_record(tmp_path / "b", frames=40, shape=(70, 60, 50))
    draw_run(record, tmp_path / "sub-02" / "figures")
    large = write(tmp_path, "sub-02").stat().st_size
    assert max(long, large) < 1e6, (long, large)


def test_nothing_is_fetched(derivatives):
    text = write(derivatives).read_text(encoding="utf-8")
    for figure in re.findall(r"data:image/svg[^\"]+", text):
        assert not re.search(r"url\((?!%23)|(href|src)=%22(?!%23|data:)", figure)
    text = re.sub(r"data:image/[^\"]+", "data:", text)
    assert not re.search(r"(src|href)=\"(?!#|data:)", text)
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
    assert "url(" not in text and "@import" not in text
    assert not re.search(r"<[^>]*\son\w+=", text)  # no inline event handlers


def test_a_failed_run_is_named_with_its_error(derivatives):
    failed = "sub-01_ses-3_task-rest"
    node = "wf.sub_01_wf.ses_3_task_rest_wf.track"
    crash = CrashReport(derivatives / "sub-01/log/u/crash.txt", node,
                        "file x: it is damaged; copy it again.", "Traceback …")  # fmt: skip
    page = parsed(write(derivatives, errors=[crash], runs=[failed]))
    section = next(one for one in page.iter("section") if one.get("id") == failed)
    text = "".join(section.itertext())
    assert "This run failed" in text and "it is damaged" in text
    errors = next(one for one in page.iter("section") if one.get("id") == "errors")
    assert "sub-01/log/u/crash.txt" in "".join(errors.itertext())
    assert "No errors" not in "".join(errors.itertext())


def test_a_run_that_was_not_reached_has_not_failed(derivatives):
    page = parsed(write(derivatives, runs=["sub-01_ses-3_task-rest"]))
    text = "".join(page.itertext())
    # in both lists of contents, the overview and the run's own section
    assert text.count("not finished") == 4 and "This run failed" not in text


@pytest.mark.slow
def test_whatever_it_is_called_it_is_text(tmp_path):
    entities = "sub-01_task-<img src=x onerror=alert(1)>"
    given = {"facts": {EVIL: EVIL}, "warnings": [EVIL]}
    draw_run(make_record(tmp_path / "data", entities, **given), tmp_path / "sub-01" / "figures")
    track = next((tmp_path / "sub-01" / "figures").glob("*movie*.json"))
    content = json.loads(track.read_text())
    track.write_text(json.dumps(content | {"status": [EVIL] * 12}))
    crash = CrashReport(tmp_path / f"crash{EVIL[:8]}", EVIL, EVIL, EVIL)
    methods = f"{EVIL}\n\n[a](javascript:alert(1)) ![b](http://example.org/x.png)"
    path = write(tmp_path, errors=[crash], about={EVIL: EVIL}, methods=methods)
    page = parsed(path)
    scripts = [script for script in page.iter("script") if script.get("type") is None]
    assert len(scripts) == 1 and "alert" not in "".join(scripts[0].itertext())
    images = [image.get("src") for image in page.iter("img")]
    assert images and all(source.startswith("data:image/") for source in images)
    assert not [name for element in page.iter() for name in element.attrib if name[:2] == "on"]
    addresses = [link.get("href") for link in page.iter("a")]
    assert all(address.startswith(("#", "http://example.org")) for address in addresses)
    # and the words are still there to be read
    assert "".join(page.itertext()).count("<script>alert(1)</script>") > 5


@pytest.mark.parametrize("content", ["", "[]", '{"facts": 1}', '{"facts": {}, "warnings": 3}'])
def test_a_broken_summary_is_named(tmp_path, content):
    figures = tmp_path / "sub-01" / "figures"
    figures.mkdir(parents=True)
    path = figures / "sub-01_task-rest_desc-summary_bold.json"
    path.write_text(content)
    with pytest.raises(InputError, match=re.escape(path.name)):
        write(tmp_path)


@pytest.mark.parametrize("participant", ["sub-01/../../x", "..", "01"])
def test_a_participant_cannot_leave_the_folder(tmp_path, participant):
    with pytest.raises(InputError):
        write(tmp_path / "out", participant)
    assert not list(Path(tmp_path).rglob("*.html"))

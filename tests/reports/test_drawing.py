from __future__ import annotations

import json
import re

import matplotlib as mpl
import numpy as np
import pytest
from lxml import etree
from PIL import Image

from tests.reports.conftest import make_record
from unimo_bids.errors import InputError
from unimo_bids.files.tables import write_table
from unimo_bids.reports.drawing import draw_run
from unimo_bids.reports.reportlets import SECTIONS


def test_every_section_has_its_files_and_nothing_else_is_left(record, tmp_path):
    settings = dict(mpl.rcParams)
    written = draw_run(record, tmp_path / "figures")
    names = {path.name.removeprefix("sub-01_task-rest_desc-") for path in written}
    wanted = {f"{section.what}_bold.svg" for section in SECTIONS if section.what != "movie"}
    assert names == wanted | {"movie_bold.jpg", "movie_bold.json", "summary_bold.json"}
    assert {path.name for path in written} == {p.name for p in (tmp_path / "figures").iterdir()}
    for path in written:
        if path.suffix == ".svg":
            styles = etree.parse(path).iterfind("{http://www.w3.org/2000/svg}style")
            assert any("prefers-color-scheme" in style.text for style in styles), path.name
    assert dict(mpl.rcParams) == settings


def test_same_run_same_files(record, tmp_path):
    first = draw_run(record, tmp_path / "a")
    second = draw_run(record, tmp_path / "b")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_summary_keeps_words_and_finite_numbers(record, tmp_path):
    written = draw_run(record, tmp_path)
    summary = json.loads(written[-1].read_text())
    assert summary["numbers"]["fd_mean"] == 1.75
    assert summary["numbers"]["fd_median"] is None
    assert summary["warnings"] == ["The repetition time was guessed."]


def test_movie_shows_the_jump_before_and_not_after(record, tmp_path):
    written = {path.name.split("desc-")[1]: path for path in draw_run(record, tmp_path)}
    track = json.loads(written["movie_bold.json"].read_text())
    sheet = np.asarray(Image.open(written["movie_bold.jpg"]), dtype=float)
    width, height = track["tile"]

    def tile(number):
        row, column = divmod(number, track["columns"])
        return sheet[row * height : (row + 1) * height, column * width : (column + 1) * width]

    change = abs(tile(3) - tile(2))
    assert track["shown"] == list(range(12)) and track["before"][0] is None
    assert change[: height // 2].mean() > 20  # of 255: a third of the ball is elsewhere
    assert change[height // 2 + 8 :].mean() < 5  # noise; rows at the border share a JPEG block


def test_long_series_are_thinned(tmp_path):
    record = make_record(tmp_path / "data", frames=850)
    written = {path.name.split("desc-")[1]: path for path in draw_run(record, tmp_path / "out")}
    track = json.loads(written["movie_bold.json"].read_text())
    assert len(track["shown"]) == 400
    assert (track["shown"][0], track["shown"][-1], track["frames"]) == (0, 849, 850)
    assert len(track["before"]) == 850


@pytest.mark.parametrize("kind", ["two frames", "all lost", "no brain", "still"])
def test_poor_runs_are_drawn_all_the_same(tmp_path, kind):
    record = make_record(tmp_path / "data", frames=2 if kind == "two frames" else 12)
    changes = {}
    if kind == "all lost":
        nothing = np.full(12, np.nan)
        changes = {
            "status": ["lost"] * 12,
            "poses": np.full((12, 4, 4), np.nan),
            "parameters": np.full((12, 6), np.nan),
            "fd_before": nothing,
            "fd_after": nothing,
            "similarity_before": nothing,
            "similarity_after": nothing,
            "censored": np.ones(12, dtype=bool),
        }
    if kind == "no brain":
        import nibabel as nib

        empty = nib.load(record.mask)
        nib.Nifti1Image(np.zeros(empty.shape, np.uint8), empty.affine).to_filename(record.mask)
    if kind == "still":
        changes = {"poses": np.tile(np.eye(4), (12, 1, 1)), "fd_before": np.zeros(12)}
    changed = make_record(tmp_path / "other", frames=len(record.status), **changes)
    if kind == "no brain":
        changed = make_record(tmp_path / "other", mask=record.mask)
    assert len(draw_run(changed, tmp_path / "out")) == len(SECTIONS) + 2


@pytest.mark.parametrize("name", ["sub-01/../../x", "../sub-01", "task-rest", "sub-01\n"])
def test_a_name_cannot_leave_the_folder(record, tmp_path, name):
    with pytest.raises(InputError):
        draw_run(make_record(tmp_path / "data", name), tmp_path / "a" / "b")
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".svg"]


def test_names_are_text_in_figures(record, tmp_path):
    names = ["<script>alert(1)</script>", "$\\frac$", "a&b"]
    write_table(record.confounds, {name: np.arange(12.0) ** i for i, name in enumerate(names, 1)})
    draw_run(record, tmp_path / "figures")
    text = next((tmp_path / "figures").glob("*confounds*")).read_text()
    assert "&lt;script&gt;" in text and "$\\frac$" in text
    assert not re.search("<script", text)


def test_a_series_of_another_length_is_refused(tmp_path):
    short = make_record(tmp_path / "short", frames=8)
    with pytest.raises(InputError, match="8 frames"):
        draw_run(make_record(tmp_path / "data", original=short.original), tmp_path / "out")

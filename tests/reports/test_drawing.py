from __future__ import annotations

import json
import re

import nibabel as nib
import numpy as np
import pytest
from lxml import etree
from PIL import Image
from scipy import ndimage

from tests.reports.conftest import AFFINE, DRAWN, SHAPE, make_record
from unimo_bids.brain.mask import Candidate, ball_radius
from unimo_bids.errors import InputError
from unimo_bids.files.series import read_mask, read_series
from unimo_bids.reports.drawing import draw_run
from unimo_bids.reports.figures import candidates, images, style
from unimo_bids.reports.figures.tracking import draw_tracking
from unimo_bids.reports.figures.views import PLANES, view_around
from unimo_bids.reports.record import TrackRecord


def test_every_section_has_its_files_and_nothing_else_is_left(drawn):
    written = drawn
    names = {path.name.removeprefix("sub-01_task-rest_desc-") for path in written}
    wanted = {f"{section.what}_bold.svg" for section in DRAWN if section.what != "movie"}
    assert names == wanted | {"movie_bold.webp", "movie_bold.json", "summary_bold.json"}
    assert {path.name for path in written} == {p.name for p in written[0].parent.iterdir()}
    for path in written:
        if path.suffix == ".svg":
            styles = etree.parse(path).iterfind("{http://www.w3.org/2000/svg}style")
            assert any("prefers-color-scheme" in style.text for style in styles), path.name


def test_same_run_same_files(drawn, record, tmp_path):
    for one, other in zip(drawn, draw_run(record, tmp_path / "again"), strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_tracking_is_shown_as_far_as_it_is_known(record, tmp_path):
    said = []
    for track in (record.track, TrackRecord(record.track.apart)):
        draw_tracking(tmp_path / "tracking.svg", record, track)
        said.append((tmp_path / "tracking.svg").read_text())
    assert ["Surprise" in one for one in said] == [True, False]
    assert all("tracked to the refined pose" in one for one in said)


def test_summary_keeps_words_and_finite_numbers(drawn):
    summary = json.loads(drawn[-1].read_text())
    assert summary["numbers"]["fd_mean"] == 1.75
    assert summary["numbers"]["fd_median"] is None
    assert summary["warnings"] == ["The repetition time was guessed."]
    assert summary["candidates"] == [
        ["1. chosen: 2 ml, confidence 0.90", "--brain-center=-3,-5,1"],
        ["2. 5 ml, confidence 0.35", "--brain-center=-20,4,3"],
    ]


def test_movie_shows_the_jump_before_and_not_after(drawn):
    written = {path.name.split("desc-")[1]: path for path in drawn}
    track = json.loads(written["movie_bold.json"].read_text())
    sheet = np.asarray(Image.open(written["movie_bold.webp"]), dtype=float)
    width, height = track["tile"]

    def tile(number):
        row, column = divmod(number, track["columns"])
        return sheet[row * height : (row + 1) * height, column * width : (column + 1) * width]

    change = abs(tile(3) - tile(2))
    assert track["shown"] == list(range(12)) and track["before"][0] is None
    assert change[: height // 2].mean() > 20  # of 255: a third of the ball is elsewhere
    assert change[height // 2 + 8 :].mean() < 5  # noise; rows at the border share a WebP block


SVG = "{http://www.w3.org/2000/svg}"


def strokes(path, color):
    """Lines of a colour in a figure: of each, its points ``(N, 2)`` in pt, y downwards."""
    found = []
    for line in etree.parse(path).iter(f"{SVG}path"):
        if f"stroke: {color}" in line.get("style", ""):
            for part in filter(None, line.get("d").split("M")):
                found.append(np.array(re.findall(r"-?[\d.]+", part), float).reshape(-1, 2))
    return found


def masks_figure(record, folder):
    series = read_series(record.original)
    path = folder / "masks.svg"
    images.draw_masks(path, record, series, read_mask(record.motion_mask, series), (0, 1000))
    return path


def test_every_frame_has_the_outline_of_its_own_mask(record, tmp_path):
    outlines = strokes(masks_figure(record, tmp_path), style.OUTLINE)
    masks = np.asanyarray(nib.load(record.motion_mask).dataobj)
    view = view_around(masks.any(axis=-1), nib.load(record.motion_mask).affine)
    across_mm, up_mm = view.extent(PLANES[0])
    wide = 72 * 10 / 12  # pt of a picture
    middles = [(points.min(axis=0) + points.max(axis=0)) / 2 for points in outlines]
    axial = {int(x // wide): (x, y) for x, y in middles if y < wide * up_mm / across_mm}
    assert sorted(axial) == list(range(12))
    jump = np.subtract(axial[3], axial[2]) - [wide, 0]
    # 9 mm along y, which is up; a pixel is 0.5 pt
    np.testing.assert_allclose(np.abs(jump), [0, 9 * wide / across_mm], atol=1)


def test_every_candidate_has_a_row_with_its_ball_and_numbers(record, tmp_path):
    path = tmp_path / "candidates.svg"
    volume, affine = nib.load(record.reference_volume).get_fdata(), AFFINE
    candidates.draw_candidates(path, volume, affine, record.candidates, True)
    text = path.read_text()
    assert "1. chosen: 2 ml, confidence 0.90:" in text and "--brain-center=-3,-5,1<" in text
    assert "2. 5 ml, confidence 0.35:" in text and "--brain-center=-20,4,3<" in text
    pt_per_mm = 72 * candidates._CUTS / (3 * candidates._SEEN_MM)
    for color, one in zip((style.OUTLINE, style.SOFT), record.candidates, strict=True):
        circles = strokes(path, color)
        assert len(circles) == 3  # one in each plane
        for points in circles:
            across = np.ptp(points, axis=0) / pt_per_mm
            assert across == pytest.approx(2 * ball_radius(one.volume), rel=0.05)  # of drawing


def test_cuts_go_through_the_middle_left_on_the_left_and_upright():
    """A bright voxel is seen as far off the middle as it is away from the candidate."""
    volume = np.zeros(SHAPE, np.float32)
    index = np.array([7, 5, 6])
    volume[tuple(index)] = 1
    bright = AFFINE[:3, :3] @ index + AFFINE[:3, 3]
    for axis in range(3):
        away = 10 * np.eye(3)[axis]
        one = Candidate(tuple(bright - away), 50, 1)
        for cut, (across, up, through) in zip(
            candidates.three_cuts(volume, AFFINE, one), PLANES, strict=True
        ):
            if through == axis:
                assert cut.max() == 0  # no voxel is so large
                continue
            row, column = ndimage.center_of_mass(cut.astype(float))
            middle = (len(cut) - 1) / 2
            pixel_mm = candidates._SEEN_MM / len(cut)
            # a pixel is 1 mm
            assert (column - middle) * pixel_mm == pytest.approx(away[across], abs=0.5)
            assert (middle - row) * pixel_mm == pytest.approx(away[up], abs=0.5)


@pytest.mark.slow
def test_long_series_are_thinned(tmp_path):
    record = make_record(tmp_path / "data", frames=850)
    written = {path.name.split("desc-")[1]: path for path in draw_run(record, tmp_path / "out")}
    track = json.loads(written["movie_bold.json"].read_text())
    assert len(track["shown"]) == 200
    assert (track["shown"][0], track["shown"][-1], track["frames"]) == (0, 849, 850)
    assert len(track["before"]) == 850


@pytest.mark.parametrize("kind", ["two still frames", "all lost, no brain"])
def test_poor_runs_are_drawn_all_the_same(tmp_path, kind):
    frames = 2 if kind == "two still frames" else 12
    changes = {"poses": np.tile(np.eye(4), (frames, 1, 1)), "fd_before": np.zeros(frames)}
    record = make_record(tmp_path / "data", frames=frames)
    if kind == "all lost, no brain":
        nothing = np.full(12, np.nan)
        changes = {
            "status": ["lost"] * 12,
            "poses": np.full((12, 4, 4), np.nan),
            "parameters": np.full((12, 6), np.nan),
            "fd_before": nothing,
            "fd_after": nothing,
            "similarity_before": nothing,
            "similarity_after": nothing,
            "uncorrected": np.ones(12, dtype=bool),
            "mask": record.mask,
        }
        nib.Nifti1Image(np.zeros(SHAPE, np.uint8), AFFINE).to_filename(record.mask)
    changed = make_record(tmp_path / "other", frames=frames, **changes)
    assert len(draw_run(changed, tmp_path / "out")) == len(DRAWN) + 2


@pytest.mark.parametrize("name", ["sub-01/../../x", "../sub-01", "task-rest", "sub-01\n"])
def test_a_name_cannot_leave_the_folder(record, tmp_path, name):
    with pytest.raises(InputError):
        draw_run(make_record(tmp_path / "data", name), tmp_path / "a" / "b")
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".svg"]

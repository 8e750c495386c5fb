"""Options of the command line, each on data that are done: what it says is what it does."""

from __future__ import annotations

import json
import re
import shutil

import nibabel as nib
import numpy as np
import pytest

from tests.system import study
from tests.system.test_outputs import columns
from unimo_bids.files.transforms import read_itk

pytestmark = pytest.mark.slow


def again(done, out, *words, **options):
    return study.call(done.raw, out, "participant", *done.words, *words, **options)


def steps(finished: study.Finished) -> set[str]:
    """Steps that were begun, not found done."""
    return set(re.findall(r": (\w+) \d+/\d+ …", finished.err))


def test_minimal_writes_no_series_and_computes_nothing_anew(done, tmp_path):
    # the work of the first call serves another output folder
    finished = again(done, tmp_path / "out", "--level", "minimal")
    assert finished.code == 0, finished.err
    assert steps(finished) == {"save"}
    full, minimal = study.digests(done.out), study.digests(tmp_path / "out")
    assert not [path for path in minimal if "desc-preproc_bold." in path]
    for path in tmp_path.rglob("*.nii.gz"):
        assert len(nib.load(path).shape) == 3
    lacking = {path for path in full if path not in minimal} - {"group_bold.tsv"}
    assert lacking and all("desc-preproc_bold." in path for path in lacking)


def test_a_radius_changes_what_depends_on_it(done, tmp_path):
    (tmp_path / "linear.yml").write_text("plugin: Linear\n")
    finished = again(
        done, tmp_path / "out", "--participant-label", "sub-02", "--use-plugin",
        tmp_path / "linear.yml", "--fd-radius", 80, "--population", "infant",
    )  # fmt: skip
    assert finished.code == 0, finished.err
    # the population enters the search for the brain: 144 ml may be an infant's, never an adult's
    assert {"confounds", "figures", "save"} <= steps(finished) <= {
        "prepare", "track", "motion", "resample", "residual", "confounds", "figures", "save"
    }  # fmt: skip
    # one at a time: each has ended before the next begins
    news = re.findall(r"\d/8 (…|done \()", finished.err)
    assert news == ["…", "done ("] * (len(news) // 2)
    assert not (tmp_path / "out" / "sub-01").exists()
    name = "sub-02/func/sub-02_task-uneven_desc-confounds_timeseries.tsv"
    small, large = columns(done.out / name), columns(tmp_path / "out" / name)
    # so that another of its outlines, a few voxels wider, is taken
    shifts = [np.array(one["trans_x"], float) for one in (small, large)]
    np.testing.assert_allclose(*shifts, atol=0.005)
    fd = [np.array(one["framewise_displacement"][1:], float) for one in (small, large)]
    turns = np.array([large[f"rot_{axis}"] for axis in "xyz"], float)
    steps_rad = np.abs(np.diff(turns)).sum(axis=0)
    radius = json.loads(
        (done.out / "sub-02/figures/sub-02_task-uneven_desc-summary_bold.json").read_text()
    )["facts"]["FD radius"]
    apart = 80 - float(radius.split()[0])
    # the summary rounds the radius to whole millimetres
    np.testing.assert_allclose(fd[1] - fd[0], apart * steps_rad, atol=0.6 * steps_rad.max())
    summary = tmp_path / "out/sub-02/figures/sub-02_task-uneven_desc-summary_bold.json"
    facts = json.loads(summary.read_text())["facts"]
    assert facts["Population"] == "infant (--population)" and facts["FD radius"] == "80 mm"


def test_a_frame_and_an_echo_that_were_asked_for(done, tmp_path):
    finished = again(
        done, tmp_path / "out", "--session-label", "b", "--echo-idx", 2, "--reference", 5,
        "--work-dir", tmp_path / "work", "--remove-workdir",
    )  # fmt: skip
    assert finished.code == 0, finished.err
    func = tmp_path / "out" / "sub-01" / "ses-b" / "func"
    (series,) = func.glob("*desc-preproc_bold.nii.gz")
    assert series.name == "sub-01_ses-b_task-rest_echo-2_desc-preproc_bold.nii.gz"
    (xfm,) = func.glob("*_xfm.txt")
    found = read_itk(xfm)
    np.testing.assert_array_equal(found[5], np.eye(4))
    assert [np.allclose(pose, np.eye(4), atol=1e-9) for pose in found].count(True) == 1
    raw = done.raw / "sub-01/ses-b/func/sub-01_ses-b_task-rest_echo-2_bold.nii.gz"
    frame = np.asanyarray(nib.load(raw).dataobj)[..., 5]
    np.testing.assert_allclose(np.asanyarray(nib.load(series).dataobj)[..., 5], frame, atol=1)
    assert not any(path.is_file() for path in (tmp_path / "work").rglob("*"))


def test_a_reference_scanned_apart(done, tmp_path):
    finished = again(
        done, tmp_path / "out", "--session-label", "ses-b", "--reference", "sbref",
        "--work-dir", tmp_path / "work",
    )  # fmt: skip
    assert finished.code == 0, finished.err
    (xfm,) = (tmp_path / "out").rglob("*_xfm.txt")
    apart = study.motion(30)[3].numpy()
    true = study.motion(3).numpy() @ np.linalg.inv(apart)
    # a tenth of a voxel at the head's edge: 40 mm from its centre
    found = read_itk(xfm)
    assert np.abs(found[:, :3, 3] - true[:, :3, 3]).max() < 0.3
    assert np.abs(found[:, :3, :3] - true[:, :3, :3]).max() < 0.01
    assert np.abs(true[:, :3, 3]).min(axis=0).max() > 0.05  # no frame is at the identity
    text = (tmp_path / "out" / "logs" / "CITATION.md").read_text()
    assert "single-band reference" in text


def test_reports_are_made_anew_from_what_is_there(done, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(done.out, out)
    (out / "sub-01.html").unlink()
    before = study.digests(out)
    finished = study.call(
        done.raw, out, "participant", "--reports-only", "--work-dir", tmp_path / "none"
    )
    assert finished.code == 0, finished.err
    assert steps(finished) == set()
    assert study.digests(out) == before
    page = (out / "sub-01.html").read_text()
    assert all(f'id="{run}-carpet"' in page for run in study.RUNS[:3])


def test_only_the_methods(done, tmp_path):
    out = tmp_path / "out"
    finished = study.call(done.raw, out, "participant", "--boilerplate-only", cwd=tmp_path)
    assert finished.code == 0, finished.err
    assert {path.name for path in out.rglob("*") if path.is_file()} == {
        *("dataset_description.json", ".bidsignore"),
        *("CITATION.md", "CITATION.html", "CITATION.bib"),
    }
    assert not (tmp_path / "work").exists()
